"""The command `mvfer export`. In: a model. Out: a folder of ONNX graphs that give what the model gives, without torch."""

import argparse


def main(argv: list[str] | None = None) -> int:
    """`mvfer export`: write a model as ONNX graphs, and say how far they are from torch."""
    args = parser().parse_args(argv)
    from mvfer.cli.predict import open_model
    from mvfer.hub.onnx_export import export_onnx
    from processing.names_mvfer import shown

    model, processor = open_model(args.model)
    for name, difference in export_onnx(model, processor, args.out).items():
        print(f"{shown(str(args.out))}/{name}.onnx\tlargest difference from torch {difference:.1e}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer export`."""
    flags = argparse.ArgumentParser(
        prog="mvfer export",
        description="Write a model as ONNX graphs for any number of samples, views and texts. Each is compared with torch.",
    )
    flags.add_argument("model", metavar="DIR", help="folder of a run, or a repository on the Hub")
    flags.add_argument("--out", required=True, metavar="DIR", help="where the graphs go")
    flags.add_argument("--format", default="onnx", choices=["onnx"], help="the only one there is (default: onnx)")
    return flags
