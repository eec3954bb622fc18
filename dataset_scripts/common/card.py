"""The description of a built data set: `dataset_info.json` as a dict, and the data set card for the Hub."""

import json
import re

from mvfer.data.schema import SPLITS
from processing.names_mvfer import as_markdown
from processing.prompts_mvfer import EXPRESSIONS

FORMAT_VERSION = "1.2.0"
RENDERER = "mvfer z-buffer 1"
_TEXTS = ("name", "license", "source", "source_url", "source_version", "sharing", "citation", "renderer")
SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


_DOUBTFUL = " Scans that look like no face: {doubtful}, which are kept and listed there."
_GEOMETRY = " `meshes` holds the scans without their colours, a PLY per frame (`datasets.Mesh`)."


def describe_heads(source, settings) -> dict:
    """What is known of a synthetic set before the first row; no path of this computer."""
    return _describe(f"mvfer-{source.name}-{settings.kind}", source, source.version, settings) | {
        "synthetic": True,
        "may_share": not source.sharing,
        "sharing": source.sharing or "Nobody's face is in it; it may be shared under the licence of its source.",
    }


def describe_scans(scan_set, settings, options: dict, version: str) -> dict:
    """The same of a recorded set; `options` are the flags of this set alone, and which key the pseudonyms have."""
    info = _describe(f"mvfer-{scan_set.name}", scan_set, version, settings)
    info["build"]["options"] = options
    return info | {"synthetic": False, "may_share": scan_set.may_share, "sharing": scan_set.sharing}


def _describe(name: str, source, version: str, settings) -> dict:
    render = settings.render.to_dict()
    return {
        "name": name,
        "version": FORMAT_VERSION,
        "source": source.title,
        "source_url": source.url,
        "source_version": version,
        "license": source.license,
        "citation": source.citation,
        "renderer": RENDERER,
        "keeps_geometry": settings.keep_geometry,
        "render_settings": render,
        "view_angles_deg": render["view_angles_deg"],
        "channels": render["channels"],
        "expressions": list(EXPRESSIONS),
        "caption_source": "label_prompts" if getattr(settings, "label_prompts", False) else "captions",
        "seed": settings.seed,
        "build": settings.to_dict(),
    }


def write(info: dict) -> str:
    """The card: a YAML header that the Hub reads, then text. What is merged was described by others: it stays text."""
    other_license = _other_license(info)
    info = info | {key: as_markdown(str(info[key])) for key in _TEXTS}
    rows, people = info["rows"], info["subjects"]
    splits = [split for split in SPLITS if rows[split]]
    total = sum(rows.values())
    size = next((name for bound, name in SIZES if total < bound), "1M<n<10M")
    files = "\n".join(f"  - split: {split}\n    path: {split}-*.parquet" for split in splits)
    language = "\n".join(f"- {_scalar(name)}" for name in info["build"]["languages"])
    table = "\n".join(f"| {split} | {people[split]} | {rows[split]} |" for split in splits)
    angles = ", ".join(f"{yaw:g}/{pitch:g}" for yaw, pitch in info["view_angles_deg"])
    origin = "synthetic" if info["synthetic"] else "scans"
    doubts = _DOUBTFUL.format(**info) if info.get("doubtful") else ""
    intro, truth = (_synthetic if info["synthetic"] else _recorded)(info)
    return f"""---
pretty_name: {_scalar(info["name"])}
license: {_scalar(info["license"])}{other_license}
language:
{language}
task_categories:
- zero-shot-image-classification
- image-classification
tags:
- facial-expression-recognition
- 3d
- {origin}
- mvfer
size_categories:
- {size}
configs:
- config_name: default
  data_files:
{files}
---

# {info["name"]}

{intro}

| split | people | rows |
|---|---|---|
{table}

No person is in two splits. Views (yaw/pitch in degrees): {angles}; {info["render_settings"]["size_px"]} px; channels
{", ".join(info["channels"])}; renderer: {info["renderer"]}. Seed {info["seed"]}. `dataset_info.json` holds every setting.
Rejected items: {info["rejected"]} (`rejected.jsonl`).{doubts}{_GEOMETRY if info.get("keeps_geometry") else ""}

{truth}

```python
from datasets import load_dataset

rows = load_dataset("parquet", data_dir="this folder")
```

Licence: {info["license"]}. {info["sharing"]} {info["citation"]}

An expression is what a face shows, not what a person feels. Inferring emotions of people at work or in education is
prohibited in the EU (Regulation 2024/1689, Art. 5(1)(f)), except for medical or safety reasons.
"""


def _other_license(info: dict) -> str:
    """What the Hub asks of a licence that it has no name for."""
    if str(info["license"]).lower() != "other":
        return ""
    url = str(info["source_url"])
    where = f"\nlicense_link: {json.dumps(url)}" if url.startswith("https://") else ""
    return f"\nlicense_name: of-its-source{where}"


def _scalar(text: str) -> str:
    """Text as one value of YAML."""
    return text if re.fullmatch(r"[A-Za-z][\w.<+-]*", text) else json.dumps(text)


def _synthetic(info: dict) -> tuple[str, str]:
    build = info["build"]
    varied = "Geometry, framing and light vary from scan to scan." if build["vary_geometry"] else "All scans are clean."
    sequences = f"sequences of {build['num_frames']} frames at {build['fps']:g} fps"
    if build["magnification"] != 1:
        sequences += f", movement since the first frame magnified {build['magnification']:g} times"
    kind = {"3d": "single scans", "4d": sequences, "micro": f"micro-expressions in {sequences}"}[build["kind"]]
    who, whose = ("people who do not exist", " Nobody's face is in it.") if info["may_share"] else ("given heads", "")
    intro = f"""Synthetic faces, rendered from several angles: {kind} of {who}, made from {info["source"]}
({info["source_url"]}, version {info["source_version"]}).{whose} {varied}"""
    truth = """`captions` say what the face does and never name an emotion. `expression` names the recipe that the face was made
by and is meant for evaluation; -1 marks random combinations of actions, or what is none of our expressions.
`action_units` are the exact intensities, also of actions too faint to be mentioned. Synthetic expressions are posed by
rule: accuracy on them says little about accuracy on people."""
    return intro, truth


def _recorded(info: dict) -> tuple[str, str]:
    build = info["build"]
    colors = "No colours were rendered." if build["geometry_only"] else "Colours, where shown, are the scan's own."
    intro = f"""Views of real people's faces, from {info["source"]} ({info["source_url"]}). The people go by pseudonyms; the key
stays with whoever built the set. {colors} Faces are personal data, whatever the names."""
    texts = (
        "`captions` were made of the expression labels (`caption_source` is `label_prompts`): a model trained on them is "
        "supervised."
        if build["label_prompts"]
        else "`captions` say what the face does, where the set has action units, and never name an emotion."
    )
    truth = """`expression` is the set's own label, -1 where it has none of ours. `static_units` are action units that the face
shows all the time, so they are no part of the expression and in no caption; only 4DME tells them."""
    return intro, f"{texts} {truth}"
