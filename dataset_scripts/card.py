"""The description of a built data set: `dataset_info.json` as a dict, and the data set card for the Hub."""

from processing.prompts_mvfer import EXPRESSIONS

from .schema import SPLITS

FORMAT_VERSION = "1.0.0"
RENDERER = "mvfer z-buffer 1"


def describe_heads(source, settings) -> dict:
    """What is known before the first row: source, licence, renderer, settings; no path of this computer."""
    render = settings.render.to_dict()
    return {
        "name": f"mvfer-{source.name}-{settings.kind}",
        "version": FORMAT_VERSION,
        "source": source.title,
        "source_url": source.url,
        "source_version": source.version,
        "license": source.license,
        "citation": source.citation,
        "renderer": RENDERER,
        "render_settings": render,
        "view_angles_deg": render["view_angles_deg"],
        "channels": render["channels"],
        "expressions": list(EXPRESSIONS),
        "caption_source": "captions",
        "seed": settings.seed,
        "build": settings.to_dict(),
    }


def write(info: dict) -> str:
    """The card: a YAML header that the Hub reads, then text."""
    build, rows = info["build"], info["rows"]
    splits = [split for split in SPLITS if rows[split]]
    files = "\n".join(f"  - split: {split}\n    path: {split}-*.parquet" for split in splits)
    total = sum(rows.values())
    bounds = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    size = next((name for bound, name in bounds if total < bound), "1M<n<10M")
    language = "\n".join(f"- {name}" for name in build["languages"])
    people = info["subjects"]
    table = "\n".join(f"| {split} | {people[split]} | {rows[split]} |" for split in splits)
    angles = ", ".join(f"{yaw:g}/{pitch:g}" for yaw, pitch in info["view_angles_deg"])
    varied = "Geometry, framing and light vary from scan to scan." if build["vary_geometry"] else "All scans are clean."
    kind = (
        f"sequences of {build['num_frames']} frames at {build['fps']:g} fps"
        if build["kind"] == "4d"
        else "single scans"
    )
    return f"""---
pretty_name: {info["name"]}
license: {info["license"]}
language:
{language}
task_categories:
- zero-shot-image-classification
- image-classification
tags:
- facial-expression-recognition
- 3d
- synthetic
- mvfer
size_categories:
- {size}
configs:
- config_name: default
  data_files:
{files}
---

# {info["name"]}

Synthetic faces, rendered from several angles: {kind} of people who do not exist, made from {info["source"]}
({info["source_url"]}, version {info["source_version"]}). Nobody's face is in it.

| split | people | rows |
|---|---|---|
{table}

No person is in two splits. Views (yaw/pitch in degrees): {angles}; {info["render_settings"]["size_px"]} px; channels
{", ".join(info["channels"])}; renderer: {info["renderer"]}. {varied} Seed {info["seed"]}.

`captions` say what the face does and never name an emotion. `expression` names the recipe that the face was made by and
is meant for evaluation; -1 marks random combinations of actions. `action_units` are the exact intensities, also of
actions too faint to be mentioned. `dataset_info.json` holds every setting. Rejected items: {info["rejected"]}
(`rejected.jsonl`).

```python
from datasets import load_dataset

rows = load_dataset("parquet", data_dir="this folder")
```

Licence: {info["license"]}. {info["citation"]}

Synthetic expressions are posed by rule. They say nothing about what a person feels, and accuracy on them says little
about accuracy on people.
"""
