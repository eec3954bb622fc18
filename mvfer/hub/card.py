"""The model card: what a model is, what it learnt from, how well it does, and what it must not be used for.

In: the model and the results of its evaluation. Out: the text of `README.md`. The wording is in `model_card.md`;
a variable that the template names and nobody gives is an error, not an empty string.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import jinja2
from huggingface_hub import ModelCard, ModelCardData

from modeling_mvfer.classifier_mvfer import is_fine_tuned
from mvfer.evaluation.results import UNITS, scores_by_test
from mvfer.hub.model_index import METRICS, eval_results
from mvfer.reports.findings import findings
from processing.names_mvfer import as_markdown, shown

_INSTALLED = Path(__file__).with_name("model_card.md")
TEMPLATE = _INSTALLED if _INSTALLED.is_file() else Path(__file__).parents[2] / "model_card.md"  # of a checkout
PERMISSIVE = {"cc0-1.0", "mit", "apache-2.0", "cc-by-4.0", "bsd-3-clause"}
SUPERVISION = {
    "captions": "captions that describe what the face does (for example “brows lowered, lips pressed together”) and "
    "never name an emotion. No emotion label entered training",
    "label_prompts": "prompts that name the emotion of each scan. This is supervision by labels",
    "pseudo": "prompts that the model assigned itself to unlabelled scans; of those no text and no label was used",
    "none": "no texts: these scans took part in the cross-view objective only",
    "labels": "fine-tuned on labels of the expressions, from a model that had learnt from texts or from scratch",
    "unit_labels": "fine-tuned on coded action units, from a model that had learnt from texts or from scratch",
}


def model_card(
    model,
    processor,
    *,
    results: Mapping | None = None,
    datasets: Sequence[Mapping] = (),
    examples: Sequence[Mapping[str, str]] = (),
) -> str:
    """Write the card.

    Args:
        results: from `evaluate`, or `None` for a model that was not tested; the card says
            so.
        datasets: the `dataset_info` of every training set; name, source and license are shown.
        examples: from `write_examples`, of pictures beside the card.
    Returns:
        `str`: Markdown with YAML metadata; every number comes from `results`.
    Raises:
        ValueError: if the template names an unknown variable.
    """
    source = TEMPLATE.read_text(encoding="utf-8")
    render = processor.image_processor.render_settings
    supervision, calibration = results["supervision"] if results else [], model.config.calibration
    variables = {
        "card_data": _Ready(_card_data(model, results, datasets, examples).to_yaml()),
        "labels": _labels(model),
        "title": "MVFER",
        "parameters": f"{sum(p.numel() for p in model.parameters()) / 1e6:.1f}",
        "views": [_view(angles) for angles in render.view_angles_deg],
        "size_px": render.size_px,
        "channels": list(render.channels),
        "datasets": [
            {key: info.get(key) or "not stated" for key in ("name", "source", "license")} for info in datasets
        ],
        "supervision": [SUPERVISION.get(kind, kind) for kind in supervision],
        "results": results,
        "tested": results and results["test"],
        "temperature": calibration and calibration.temperature,
        "privacy": (results or {}).get("training", {}).get("privacy"),
        "federated": (results or {}).get("training", {}).get("federated"),
        "abstain_below": calibration and calibration.abstain_below,
        "fairness_audited": any("groups" in one for one in (results or {}).get("fairness", {}).values()),
        "findings": findings(results) if results else [],
        "scores": scores_by_test(results) if results else {},
        "units": results["actions"]["test"]["per_unit"] if results and results["kind"] == UNITS else {},
        "adaptation": (results or {}).get("adaptation"),
        "effort": _effort(results) if results else None,
    }
    options: dict = {"undefined": jinja2.StrictUndefined, "trim_blocks": True, "lstrip_blocks": True}
    environment = jinja2.Environment(
        finalize=lambda value: as_markdown(value) if type(value) is str else value, **options
    )
    environment.filters["code"] = lambda text: _Ready(shown(str(text)).replace("`", "'"))
    try:
        text = environment.from_string(source).render(variables)
    except jinja2.UndefinedError as error:
        raise ValueError(f"{TEMPLATE.name}: {error}") from error
    return str(ModelCard(text))


class _Ready(str):
    """Text that is written as it is."""


def _labels(model) -> list[str]:
    """The classes of a fine-tuned model; none for one that takes any text."""
    return list(model.config.id2label.values()) if is_fine_tuned(model) else []


def _card_data(model, results: Mapping | None, datasets: Sequence[Mapping], examples: Sequence) -> ModelCardData:
    permissive = datasets and all(str(info.get("license", "")).lower() in PERMISSIVE for info in datasets)
    licence = {"license": "apache-2.0"} if permissive else {"license": "other", "license_name": "see-training-data"}
    task = "image-classification" if _labels(model) else "zero-shot-image-classification"
    evaluated = {}
    if results and results["kind"] != UNITS:
        metrics = sorted({kind for kind, _ in METRICS.values()})
        evaluated = {"model_name": "MVFER", "eval_results": eval_results(results, task), "metrics": metrics}
    return ModelCardData(
        library_name="transformers",
        pipeline_tag=task,
        language=results.get("language") if results else None,
        widget=[dict(example) for example in examples] or None,
        tags=["mvfer", "facial-expression-recognition", "multi-view", "3d", "4d", "clip"],
        **licence,
        **_emissions(results),
        **evaluated,
    )


def _effort(results: Mapping) -> str | None:
    """What training took, in words; of runs that did not note it, nothing."""
    training = results.get("training", {})
    if "seconds" not in training:
        return None
    minutes, processes = training["seconds"] / 60, training["processes"]
    time = f"{minutes / 60:.1f} hours" if minutes >= 90 else f"{max(1, round(minutes))} min"
    text = f"{time} in {processes} process{'es' if processes > 1 else ''} on {results['environment']['device']}"
    if "co2_g" not in training:
        return f"{text}. Emissions were not measured"
    return f"{text}, about {training['co2_g']:.3g} g of CO2 by the rate that was stated for this computer and its grid"


def _emissions(results: Mapping | None) -> dict:
    """The metadata of the Hub for them, where they are known."""
    training = (results or {}).get("training", {})
    if results is None or "co2_g" not in training:
        return {}
    kind = "pre-training" if results["kind"] == "zero_shot" else "fine-tuning"
    said = {"emissions": training["co2_g"], "source": "time measured, rate stated by whoever trained it"}
    return {"co2_eq_emissions": said | {"training_type": kind, "hardware_used": results["environment"]["device"]}}


def _view(angles) -> str:
    yaw, pitch = angles
    return f"yaw {yaw:g}°, pitch {pitch:g}°"
