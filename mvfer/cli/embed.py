"""The command `mvfer embed`. In: scans and a model. Out: a Parquet table with an embedding per scan, for `mvfer search`.

It goes on after a scan that it cannot read; the exit status is then 1.
"""

import argparse
from collections.abc import Iterator, Sequence

from mvfer.cli.predict import add_mesh_argument, add_model_flag, add_table_flags, check_reading, open_model
from mvfer.data.orientation_flags import OrientationParser, add_orientation_flags
from mvfer.progress import add_quiet_flag, be_quiet
from mvfer.reports.tables import check_suffix

EPILOG = """examples:
  mvfer embed scans/ --out faces.parquet
  mvfer search "corners of the mouth lifted" --embeddings faces.parquet

The table has the columns file, subject, frame, time_s; embedding, of unit length: the dot product of two is their cosine;
reason, where no face was found; model, model_hash; and error, of a file that could not be read. In pandas:

  import numpy as np, pandas as pd
  faces = pd.read_parquet("faces.parquet").dropna(subset="embedding")
  embeddings = np.stack(faces["embedding"])      # (scans, dimensions)

A command that was stopped goes on where it stopped when it is started again.
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer embed`: an embedding per scan."""
    args = parser().parse_args(argv)
    be_quiet(args.quiet)
    check_reading(args)
    check_suffix(args.out, (".parquet",))
    import torch

    from modeling_mvfer.classifier_mvfer import NOT_A_FACE, embeds_of, features_of
    from mvfer.cli.printed import failed_row
    from mvfer.cli.resumed_table import ResumedTable
    from mvfer.cli.scan_batches import ask_together, read_batches
    from mvfer.cli.scan_files import Item, find_items

    model, processor = open_model(args.model, orientation=args.orientation)
    images = processor.image_processor
    whole = images.frames == "rank_pooled"
    items = find_items(args.scans, sequences=args.sequences, whole=whole, fps=args.fps, as_given=False)

    @torch.no_grad()
    def ask(inputs, places):
        return list(embeds_of(features_of(model, inputs)).cpu())

    def find(todo: Sequence[Item]) -> Iterator[list[tuple[Item, dict]]]:
        for batch in read_batches(todo, images, batch_size=args.batch_size, num_workers=args.num_workers):
            found = []
            for (item, read), answer in zip(batch, ask_together(batch, ask), strict=True):
                if isinstance(answer, Exception):
                    found.append((item, {"error": failed_row(item.name, answer)["error"]}))
                    continue
                reason = NOT_A_FACE if read.face and not read.face.is_face else None
                found.append((item, {"embedding": answer, "reason": reason}))
            yield found

    columns = {"embedding": "vector", "reason": "text"}
    question = {"sequences": args.sequences, "fps": args.fps}
    with ResumedTable(args, items, columns, model, processor, question) as table:
        _, errors = table.fill("embed", find)
    return 1 if errors else 0


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer embed`."""
    flags = OrientationParser(
        prog="mvfer embed",
        description="An embedding per scan, as a Parquet table.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    what = "or a photo, a folder of these, or a quoted pattern; one row each"
    add_mesh_argument(flags, "scans", what, nargs="+", metavar="scan")
    add_model_flag(flags)
    add_orientation_flags(flags, None, "the model's setting, which is auto")
    add_table_flags(flags, "FILE.parquet", required=True)
    add_quiet_flag(flags)
    flags.set_defaults(baseline=None, by_person=None, scanner=None)
    return flags
