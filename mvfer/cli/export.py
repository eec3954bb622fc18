"""The command `mvfer export`. In: a model. Out: a folder of ONNX graphs that give what the model gives, without torch."""

import argparse
from pathlib import Path

import mvfer
from mvfer.progress import add_quiet_flag, be_quiet


def main(argv: list[str] | None = None) -> int:
    """`mvfer export`: write a model as ONNX graphs, and say how far they are from torch."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    from mvfer.cli.predict import labels_of, open_model
    from mvfer.hub.onnx_export import export_onnx
    from processing.names_mvfer import shown

    model, processor = open_model(args.model)
    labels = labels_of(args.model, args.labels)
    written = export_onnx(model, processor, args.out, labels=labels, int8=args.int8, exporter=args.exporter)
    for name, difference in written.items():
        path = Path(args.out) / f"{name}.onnx"
        size = path.stat().st_size / 1e6
        print(f"{shown(str(path))}\tlargest difference from torch {difference:.1e}\t{size:.1f} MB")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer export`."""
    flags = argparse.ArgumentParser(
        prog="mvfer export",
        description="Write a model as ONNX graphs for any number of samples, views and texts. Each is compared with torch.",
        epilog="example:\n  mvfer export runs/first --out graphs --int8\n  python examples/onnx_predict.py graphs views/*.png",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument(
        "model",
        nargs="?",
        default=mvfer.bundled(),
        metavar="DIR",
        help="folder of a run, or a repository on the Hub (default: the small model that comes with the package)",
    )
    flags.add_argument("--out", required=True, metavar="DIR", help="where the graphs go")
    flags.add_argument(
        "--labels",
        nargs="+",
        metavar="LABEL",
        help="of which export.json tells the prompts (default: those that the model was tested on)",
    )
    flags.add_argument(
        "--int8",
        action="store_true",
        help="also write each graph with weights of 8 bits: smaller, and off by more; see docs/use.md",
    )
    flags.add_argument(
        "--exporter",
        default="dynamo",
        choices=["dynamo", "torchscript"],
        help="which of torch's exporters writes the graphs; torchscript is the older one (default: dynamo)",
    )
    flags.add_argument("--format", default="onnx", choices=["onnx"], help="the only one there is (default: onnx)")
    add_quiet_flag(flags)
    return flags
