"""The command `mvfer`: finds the command that was asked for and runs it. In: arguments. Out: the exit status.

Bad input, and an extra that is not installed, are one line on stderr and exit status 2. A command's module is imported when it is
asked for, so that `mvfer --help` loads none of them.
"""

import argparse
import sys
from importlib import import_module

from mvfer import __version__
from mvfer.extras import what_is_missing

COMMANDS = {
    "predict": "classify scans, one by one or whole folders as a table",
    "plot": "draw a table of predict: timelines, bars",
    "embed": "embeddings of scans, as a table",
    "distribute": "build a data set or write a table by many workers",
    "search": "find scans by a text",
    "watch": "follow the frames of a sequence",
    "app": "try a model in the browser",
    "render": "draw a scan as the model sees it",
    "explain": "colour a face by what speaks for a label",
    "evaluate": "test a run on a data set",
    "adapt": "fit a model to your scanner, from neutral scans",
    "study": "further tests: same person, head or photo, fewer views",
    "poc": "is it worth it: people needed, cost, benefit",
    "check": "have recent data drifted",
    "audit": "has an audit log been changed",
    "federate": "learn at several sites, whose scans stay there",
    "forget": "take a person out of a data set",
    "push": "put a run on the Hub",
    "export": "write a run as ONNX graphs",
}
EPILOG = """`mvfer COMMAND --help` tells its flags. Examples:
  mvfer predict examples/*.ply
  mvfer predict scans/ --out faces.csv
  mvfer evaluate --model runs/first --dataset data/anny --out report
  mvfer push runs/first --repo_id somebody/mvfer-first
"""


def main(argv: list[str] | None = None) -> int:
    """Run a command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else list(argv)
    if argv and argv[0] in COMMANDS:
        try:
            return import_module(f"mvfer.cli.{argv[0]}").main(argv[1:])
        except (ValueError, OSError) as error:
            from processing.names_mvfer import shown

            print(f"mvfer: {shown(' '.join(str(error).split()))}", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("mvfer: stopped", file=sys.stderr)
            return 130
        except ModuleNotFoundError as error:
            sentence = what_is_missing(error, f"mvfer {argv[0]}")
            if sentence is None:
                raise
            print(f"mvfer: {sentence}", file=sys.stderr)
            return 2
    if not argv:
        parser().print_help(sys.stderr)
        return 2
    parser().parse_args(argv)
    return 0


def parser() -> argparse.ArgumentParser:
    """`mvfer` alone: its help, its version, or what is wrong with the command."""
    flags = argparse.ArgumentParser(
        prog="mvfer",
        description="Facial expressions from 3D scans, sequences and photos of several cameras.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("--version", action="version", version=f"mvfer {__version__}")
    commands = flags.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for name, words in COMMANDS.items():
        commands.add_parser(name, help=words, add_help=False)
    return flags
