"""What commands print of scans. In: what was found. Out: rows as dicts, one line of each on stdout, and remarks on stderr."""

import json
import sys

from mvfer.progress import is_quiet
from processing.names_mvfer import shown, shown_json

SEEN_FROM = 0.5  # of a label of which several may be true at once


def scored_row(name: str, scores: dict[str, float]) -> dict:
    """What is printed of one input: labels by probability, best first."""
    ranked = sorted(scores.items(), key=lambda item: -item[1])
    listed = [{"label": label, "score": score} for label, score in ranked]
    return {"input": name, "label": ranked[0][0], "score": ranked[0][1], "scores": listed}


def face_row(name: str, face_frames: list, *, warn: bool = True) -> dict:
    """What is printed of where the face was found; where none was, `abstain` is true and stderr says what to do (`warn`)."""
    if not face_frames:  # photos
        return {}
    frame = face_frames[0]
    row = {"face_likeness": round(frame.face_likeness or 0.0, 3), "orientation": frame.orientation}
    if frame.is_inside_out and warn:
        tell(perhaps_mirrored(name, frame))
    if frame.is_face and frame.inferred:
        row["inferred"] = list(frame.inferred)
        if warn:
            tell(partly_inferred(name, frame))
    if frame.is_face:
        return row
    from modeling_mvfer.classifier_mvfer import NOT_A_FACE

    if warn:
        tell(no_face(name, frame))
    return row | {"abstain": True, "reason": NOT_A_FACE}


def no_face(name: str, frame) -> str:
    """The warning of a scan in which no face was found."""
    return (
        f"{name}: no face found (face-likeness {frame.face_likeness:.2f}); do not trust what follows. Look at it with: mvfer "
        "render; say how the scan lies with --orientation, or cut away what is not the head"
    )


def partly_inferred(name: str, frame) -> str:
    """The remark on a scan that does not show all that a frame is measured from."""
    return f"{name}: {frame.unseen} is not seen; the face was placed by the rest of it, perhaps a twentieth of its size off"


def perhaps_mirrored(name: str, frame) -> str:
    """The remark on a scan whose sides may be exchanged."""
    return (
        f"{name}: its triangles look inwards, as those of a mirrored scan do (left-handed coordinates); if its left and right "
        f"are exchanged, say --orientation {frame.orientation}/mirrored"
    )


def failed_row(name: str, error: Exception) -> dict:
    """What is printed of an input that could not be read; the reason goes to stderr as well."""
    kind = "" if isinstance(error, ValueError | OSError) else f"{type(error).__name__}: "
    reason = kind + " ".join(str(error).split())
    tell(reason)
    return {"input": name, "error": reason}


def tell(sentence: str) -> None:
    """One line on stderr, whatever the names in it hold, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(f"mvfer: {shown(sentence)}", file=sys.stderr)


def remark(sentence: str) -> None:
    """The same of what is good to know, and not wanted with `--quiet`."""
    if not is_quiet():
        tell(sentence)


def print_row(row: dict, *, as_json: bool) -> None:
    """One line on stdout, at once. Names and labels stay within their fields; as JSON they keep every character."""
    if as_json:
        line = shown_json(json.dumps(row, ensure_ascii=False))
    elif "error" in row:
        line = f"{field(row['input'])}\terror: {shown(row['error'])}"
    else:
        told = [item for item in row["scores"] if item["label"] in row.get("seen", [item["label"]])]
        name = _with_phrase if "seen" in row else shown
        scores = "  ".join(f"{name(item['label'])} {item['score']:.3f}" for item in told) or "nothing"
        abstains = f"abstain ({shown(row['reason'])}): " if row["abstain"] else ""
        line = f"{field(row['input'])}\t{abstains}{scores}"
        line += f"\t{actions_text(row['actions'])}" if "actions" in row else ""
    print(line, flush=True)


def _with_phrase(label: str) -> str:
    """An action unit with what it means; any other label as it is."""
    from processing.prompts_mvfer import action_phrases

    return shown(" ".join([label, *action_phrases().get(label, ())[:1]]))


def actions_text(actions: list[dict]) -> str:
    """The units that are seen, as FACS writes them, with their phrase and probability: "12B lip corners pulled up 0.93"."""
    sides = {"left": "L", "right": "R"}
    told = [
        f"{sides.get(row.get('side', ''), '')}{row['unit']}{row['grade'] or ''} {row['phrase']} {row['score']:.2f}"
        for row in actions
        if row["seen"]
    ]
    return "; ".join(told) or "no action"


def field(name: str) -> str:
    """The name of a file as a field of a table, and no formula where a spreadsheet opens it."""
    return shown(f"./{name}" if name.startswith(("=", "+", "-", "@")) else name)
