"""The command `mvfer search`. In: a text and the table of `mvfer embed`. Out: the scans that fit the text best, a line each."""

import argparse
import heapq
import json
from collections.abc import Iterator

from mvfer.cli.predict import LANGUAGE_HELP, add_model_flag, open_model
from mvfer.cli.printed import field

EPILOG = """examples:
  mvfer embed scans/ --out faces.parquet
  mvfer search "corners of the mouth lifted" --embeddings faces.parquet
  mvfer search happiness --embeddings faces.parquet --top_k 3 --json

Scores are cosines: they rank, and are no probabilities. A known expression is described by what the face does; any other text
stands for itself.
"""


def main(argv: list[str] | None = None) -> int:
    """`mvfer search`: scans by a text."""
    args = parser().parse_args(argv)
    if args.top_k < 1:
        raise ValueError(f"--top_k: expected 1 or more, got {args.top_k}")
    from torch.nn.functional import normalize

    from modeling_mvfer.audit_log_mvfer import model_hash
    from modeling_mvfer.classifier_mvfer import Classifier
    from processing.prompts_mvfer import find_expression

    model, processor = open_model(args.model, needs_texts=True)
    words = None if find_expression(args.text) else {args.text: [args.text]}
    options = {"prompts": words, "language": args.language}
    texts = Classifier.from_prompts(model, processor, [args.text], **options).class_embeds
    embed = normalize(texts[args.text].float().mean(0), dim=-1).cpu().numpy()  # type: ignore[index]
    found: list[tuple[float, int, dict]] = []
    for number, row in enumerate(_rows(args.embeddings, model_hash(model), args.model)):
        if row["embedding"] is None:
            continue
        entry = (float(embed @ row.pop("embedding")), -number, row)
        (heapq.heappush if len(found) < args.top_k else heapq.heappushpop)(found, entry)
    for score, _, row in sorted(found, reverse=True):
        _print(score, row, as_json=args.json)
    return 0


def _rows(path: str, model: str, named: str) -> Iterator[dict]:
    """The rows of a table of embeddings.

    Raises:
        ValueError: if it is none, or another model made it.
    """
    import numpy as np

    from mvfer.reports.tables import check_suffix, read_table

    check_suffix(path, (".parquet",))
    is_checked = False
    for row in read_table(path):
        if not is_checked and not {"embedding", "model", "model_hash", "file"} <= set(row):
            raise ValueError(f"{path}: no embeddings in it; make them with: mvfer embed")
        is_checked = True
        if row["model_hash"] != model:
            raise ValueError(
                f"{path}: made by another model ({row['model']}, {row['model_hash']}) than {named} ({model}), so that texts and "
                "scans cannot be compared; name that one with --model, or make it anew: mvfer embed"
            )
        if row["embedding"] is not None:
            row["embedding"] = np.asarray(row["embedding"], dtype=np.float32)
        yield row


def _print(score: float, row: dict, *, as_json: bool) -> None:
    found = {"file": row["file"], "score": round(score, 6)}
    found |= {name: row[name] for name in ("subject", "frame", "time_s", "reason") if row.get(name) is not None}
    if as_json:
        print(json.dumps(found))
    else:
        details = [f"{name} {field(str(found[name]))}" for name in ("subject", "time_s", "reason") if name in found]
        print("\t".join([f"{score:.3f}", field(row["file"]), *details]))


def parser() -> argparse.ArgumentParser:
    """The flags of `mvfer search`."""
    flags = argparse.ArgumentParser(
        prog="mvfer search",
        description="The scans that fit a text best.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    flags.add_argument("text", help="what to look for: what a face does, or a known expression")
    flags.add_argument("--embeddings", required=True, metavar="FILE.parquet", help="the table of mvfer embed")
    flags.add_argument("--top_k", type=int, default=10, help="how many are listed, best first (default: 10)")
    add_model_flag(flags)
    flags.add_argument("--language", choices=["en", "ja"], help=LANGUAGE_HELP)
    flags.add_argument("--json", action="store_true", help="one JSON object per line, for machines")
    return flags
