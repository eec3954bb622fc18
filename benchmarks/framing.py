"""Is a face framed where it should be, whatever is wrong with its scan? `python -m benchmarks.framing --out report/framing`.

In: heads of Anny, drawn and expressing as `build_anny` makes them; with `--valid` also those of VALID, with `--ict` those of
ICT-FaceKit, neither of which the template of the search was made of. Each is disturbed
(`scan_disturbances`), framed, and looked at by the bundled model. Out: `framing.json` and `framing.md`: how often eyes and
corners of the mouth lie within 0.05 face radii of where they lie when the whole head is framed, beside the plain measure of
nose and rim; the model's accuracy; the time of both, interleaved; and how face-like things look that are no faces.
"""

import argparse
import json
import time
from collections import defaultdict
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import torch

import mvfer
from benchmarks.no_faces import FRESH_NO_FACES
from dataset_scripts.synthetic.framed_heads import WITHIN, anny_heads, heads_of
from dataset_scripts.synthetic.scan_disturbances import DISTURBANCES, NO_FACES, OTHER_NO_FACES, Head, subdivided
from processing.framing_mvfer import FaceFrame, frame_face, frame_upright
from processing.rendering_mvfer import render_scan

ANY_ORIENTATION = ("oriented", "mirrored", "pair")


def error_of(frame: FaceFrame, scan: Head, head: Head) -> float:
    """The largest distance of a landmark from where it should be, framed units; a mirrored face is as good."""
    found = frame.apply(scan.landmarks)
    wanted = [head.landmarks] + ([head.landmarks * [-1, 1, 1]] if scan.is_mirrored else [])
    return min(float(np.linalg.norm(found - one, axis=1).max()) for one in wanted)


class Model:
    """The bundled model, asked about a framed scan."""

    def __init__(self):
        from modeling_mvfer.classifier_mvfer import Classifier
        from mvfer.hub.load import load_run
        from processing.prompts_mvfer import EXPRESSIONS

        model, self.processor = load_run(mvfer.model("small"))
        self.classifier = Classifier.of(model, self.processor, [name for name in EXPRESSIONS if name != "contempt"])

    def __call__(self, scan: Head, frame: FaceFrame) -> str:
        images = self.processor.image_processor
        views = render_scan(scan.vertices.astype(np.float32), scan.faces, images.render_settings, frame=frame)
        pixels = images.normalize_views(views)
        angles = torch.tensor([images.view_angles_deg], dtype=torch.float32)
        found = self.classifier({"pixel_values": pixels, "view_angles_deg": angles})
        return self.classifier.labels[int(found.probabilities[0].argmax())]


def measure_share(
    number: int, count: int, cases: int, seed: int, source: str, path: Path | None, with_model: bool
) -> list[dict]:
    """Every so many of the cases, as rows."""
    torch.set_num_threads(1)
    names = list(DISTURBANCES)
    people = heads_of(source, path, min(cases, 210), seed)
    model, rows = Model() if with_model and source == "anny" else None, []
    for case in range(number, cases, count):
        head, truth = people[case % len(people)]
        name = names[case % len(names)]
        scan = DISTURBANCES[name](head, np.random.default_rng([seed, case]))
        row = {"disturbance": name, "source": source}
        vertices = scan.vertices.astype(np.float32)
        for way, find in (("plain", frame_upright), ("found", frame_face)):
            options = {"orientation": "auto"} if way == "found" and name in ANY_ORIENTATION else {}
            began = time.process_time()
            try:
                frame = find(vertices, scan.faces, **options)
            except ValueError:
                row |= {f"{way}_error": float("inf"), f"{way}_is_face": False}
                continue
            row |= {f"{way}_s": time.process_time() - began, f"{way}_error": error_of(frame, scan, head)}
            row |= {
                f"{way}_is_face": frame.is_face,
                f"{way}_likeness": frame.face_likeness,
                f"{way}_inferred": frame.inferred,
            }
            if model:
                row[f"{way}_is_right"] = model(scan, frame) == truth
        rows.append(row)
    return rows


def measure_times(repeats: int = 15) -> dict:
    """Milliseconds of both at 50k triangles, interleaved, of a whole head and of one with a hole beside the nose."""
    head = next(iter(anny_heads(1, 1)))[0]
    head = subdivided(head, 50_000)
    scans = {"whole": head, "hole_beside_nose": DISTURBANCES["hole_beside_nose"](head, np.random.default_rng(4))}
    result = {}
    for name, scan in scans.items():
        vertices, spent = scan.vertices.astype(np.float32), defaultdict(list)
        for _ in range(repeats):
            for way, find in (("plain", frame_upright), ("found", frame_face)):
                began = time.process_time()
                find(vertices, scan.faces)
                spent[way].append(1e3 * (time.process_time() - began))
        result[name] = {way: float(np.median(times)) for way, times in spent.items()}
        result[name] |= {"triangles": len(scan.faces), "ratio": result[name]["found"] / result[name]["plain"]}
    return result


def no_face_rows(things: dict, repeats: int, seed: int) -> dict[str, list[float]]:
    """Face-likeness of what is no face, in any orientation."""
    heads = [head for head, _ in anny_heads(repeats, seed + 1)]
    rows: dict[str, list[float]] = defaultdict(list)
    for number, head in enumerate(heads):
        for name, make in things.items():
            scan = make(head, np.random.default_rng([seed, number]))
            frame = frame_face(scan.vertices.astype(np.float32), scan.faces, orientation="auto")
            rows[name].append(round(frame.face_likeness or 0.0, 3))
    return rows


def summary(rows: list[dict]) -> dict[str, dict]:
    """By disturbance, and of all: shares in percent, and the face-likeness that all but a hundredth reach."""
    groups = defaultdict(list)
    for row in rows:
        groups[row["disturbance"]].append(row)
        groups["all"].append(row)
    result = {}
    for name, group in groups.items():
        one = {"cases": len(group)}
        for way in ("plain", "found"):
            errors = np.array([row[f"{way}_error"] for row in group])
            one[f"{way}_within"] = 100 * float((errors < WITHIN).mean())
            one[f"{way}_within_double"] = 100 * float((errors < 2 * WITHIN).mean())
            if all(f"{way}_is_right" in row for row in group):
                one[f"{way}_accuracy"] = 100 * float(np.mean([row[f"{way}_is_right"] for row in group]))
        off = [row for row in group if row["found_error"] >= 4 * WITHIN]
        one["far_off"], one["far_off_said"] = len(off), sum(not row["found_is_face"] for row in off)
        called = [row for row in group if row["found_is_face"]]
        wrong = [row for row in called if row["found_error"] >= WITHIN]
        one["silent"] = 100 * sum(not row.get("found_inferred") for row in wrong) / len(group)  # off without a word
        one["inferred"] = sum(bool(row.get("found_inferred")) for row in called)
        one["inferred_off"] = sum(bool(row.get("found_inferred")) for row in wrong)
        one["likeness"] = float(np.quantile([row.get("found_likeness") or 0.0 for row in group], 0.01))
        one["called_no_face"] = sum(not row["found_is_face"] for row in group)
        result[name] = one
    return result


def table(found: dict[str, dict]) -> str:
    """Markdown."""
    lines = [
        "| disturbance | cases | within 0.05: before | now | within 0.1: before | now | model: before | now "
        "| silent | inferred (off) | far off (said) |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name in [*sorted(set(found) - {"all"}), "all"]:
        row = found[name]
        cells = [name, row["cases"]]
        for key in ("within", "within_double", "accuracy"):
            cells += [f"{row[f'{way}_{key}']:.1f}" if f"{way}_{key}" in row else "" for way in ("plain", "found")]
        cells += [f"{row['silent']:.1f}", f"{row['inferred']} ({row['inferred_off']})"]
        cells.append(f"{row['far_off']} ({row['far_off_said']})")
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> int:
    flags = argparse.ArgumentParser(prog="python -m benchmarks.framing", description=(__doc__ or "").partition("\n")[0])
    flags.add_argument("--out", type=Path, required=True, help="folder for framing.json and framing.md")
    flags.add_argument("--cases", type=int, default=2000)
    flags.add_argument("--other_cases", type=int, default=200, help="of VALID and ICT-FaceKit, each")
    flags.add_argument("--seed", type=int, default=5)
    flags.add_argument("--valid", type=Path, help="also VALID's heads, one .npz")
    flags.add_argument("--ict", type=Path, help="also heads of ICT-FaceKit, the FaceXModel folder")
    flags.add_argument("--no_model", action="store_true", help="do not ask the bundled model")
    flags.add_argument("--num_proc", type=int, default=1)
    args = flags.parse_args(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    results: dict = {
        "seed": args.seed,
        "within_radii": 0.05,
        "times_ms": measure_times(),
        "no_faces": no_face_rows(NO_FACES, 12, args.seed),
        "no_faces_set_aside": no_face_rows(OTHER_NO_FACES, 40, args.seed),
        "no_faces_fresh": no_face_rows(FRESH_NO_FACES, 4, args.seed),
    }
    sources = {"anny": None, "valid": args.valid, "ict": args.ict}
    with ProcessPoolExecutor(args.num_proc) as pool:
        for name, path in sources.items():
            if path is None and name != "anny":
                continue
            cases = args.cases if path is None else args.other_cases
            options = (args.num_proc, cases, args.seed, name, path, not args.no_model)
            parts = [pool.submit(measure_share, number, *options) for number in range(args.num_proc)]
            results[name] = summary([row for part in parts for row in part.result()])
    text = "\n".join(f"{name}\n\n{table(results[name])}" for name in sources if name in results)
    (args.out / "framing.json").write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    (args.out / "framing.md").write_text(text, encoding="utf-8")
    print(
        text,
        *(json.dumps(results[key]) for key in ("times_ms", "no_faces", "no_faces_set_aside", "no_faces_fresh")),
        sep="\n",
    )
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
