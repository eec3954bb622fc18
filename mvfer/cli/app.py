"""The command `mvfer app`. In: a model. Out: a page in the browser, where scans are dropped and words are typed.

It listens on this machine alone, unless told otherwise, and keeps nothing of what is dropped; with `--audit_log`, a line per
answer, without pixels and names.
"""

import argparse
import atexit
import ipaddress
import os
import shutil
import sys
import tempfile

import mvfer
from mvfer.cli.audit import add_audit_flags, open_log
from mvfer.cli.predict import labels_of, open_model

EPILOG = """examples:
  mvfer app
  mvfer app --model runs/first --labels happiness disgust --port 8000
  mvfer app --audit_log audit.jsonl --audit_user "ward 3"
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer app`: a page to try a model on."""
    args = parser().parse_args(argv)
    _keep_private()
    from mvfer.app.interface import Desk, serve  # which imports gradio first: where that is missing, no model is loaded

    model, processor = open_model(args.model, needs_texts=True)
    is_bundled, log = args.model == mvfer.bundled(), open_log(args)
    desk = Desk(model, processor, labels_of(args.model, args.labels), is_bundled=is_bundled, log=log)
    if not _is_this_machine(args.host):
        print("mvfer: whoever reaches this machine can use the page; it asks for no password", file=sys.stderr)
    try:
        serve(desk, host=args.host, port=args.port)
    except KeyboardInterrupt:
        print("mvfer: ended; nothing was kept", file=sys.stderr)
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer app`."""
    flags = argparse.ArgumentParser(
        prog="mvfer app",
        description="A page in the browser: drop a scan, a sequence or photos, and type labels. Nothing is stored.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = flags.add_argument
    default = "default: the small model that comes with the package"
    add(
        "--model",
        default=mvfer.bundled(),
        metavar="DIR",
        help=f"folder of a run, or a repository on the Hub ({default})",
    )
    add("--labels", nargs="+", metavar="LABEL", help="to begin with (default: those that the model was tested on)")
    add("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1, this machine alone)")
    add("--port", type=int, default=7860, help="default: 7860")
    add_audit_flags(flags)
    return flags


def _keep_private() -> None:
    """What gradio reads when it is imported: it tells nobody, and writes into a folder that is deleted at the end."""
    folder = tempfile.mkdtemp(prefix="mvfer_app_")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ |= {"GRADIO_TEMP_DIR": folder, "GRADIO_ANALYTICS_ENABLED": "False", "HF_HUB_DISABLE_TELEMETRY": "1"}


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
