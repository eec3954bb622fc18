"""What cards say to machines: the metadata that the Hub documents, and nothing that nobody measured."""

import re
from pathlib import Path

import pytest
import yaml
from huggingface_hub import DatasetCard, ModelCard
from PIL import Image
from transformers import pipeline
from transformers.pipelines import SUPPORTED_TASKS

import mvfer
from dataset_scripts.common import card as set_card
from dataset_scripts.common.card import SIZES
from modeling_mvfer import MVFERForFaceClassification
from mvfer.hub.card import model_card
from mvfer.hub.example_views import write_examples
from mvfer.hub.run_folder import save_run
from processing.prompts_mvfer import BASIC_EXPRESSIONS
from tests.modeling.test_hub import results

# Of https://github.com/huggingface/hub-docs, modelcard.md and datasetcard.md: the keys, and how a licence is named.
OF_MODELS = {"language", "license", "license_name", "license_link", "library_name", "tags", "datasets", "metrics"}
OF_MODELS |= {"base_model", "pipeline_tag", "widget", "model-index", "co2_eq_emissions"}
OF_SETS = {"pretty_name", "language", "license", "license_name", "license_link", "task_categories", "tags"}
OF_SETS |= {"size_categories", "configs"}
LICENSES = {"apache-2.0", "mit", "cc0-1.0", "cc-by-4.0", "bsd-3-clause", "other"}
LANGUAGE = re.compile(r"[a-z]{2}")


def check_license(metadata: dict) -> None:
    assert metadata["license"] in LICENSES
    if metadata["license"] == "other":
        assert re.fullmatch(r"[a-z0-9-]+", metadata["license_name"])


@pytest.mark.parametrize("license_", ["cc0-1.0", "research only"])
@pytest.mark.parametrize("is_tested", [True, False])
def test_a_models_metadata_are_as_the_hub_wants_them(small_model, small_processor, license_, is_tested):
    info = {"name": "anny", "source": "Anny", "license": license_}
    text = model_card(small_model, small_processor, results=results() if is_tested else None, datasets=[info])
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata == ModelCard(text).data.to_dict(), "huggingface_hub reads what stands there"
    assert set(metadata) <= OF_MODELS and metadata["pipeline_tag"] in SUPPORTED_TASKS
    check_license(metadata)
    assert LANGUAGE.fullmatch(metadata["language"]) if is_tested else "language" not in metadata
    assert "co2_eq_emissions" not in metadata, "nobody measured it"
    assert all(re.fullmatch(r"[\w.-]+", tag) for tag in metadata["tags"])
    for result in metadata["model-index"][0]["results"] if is_tested else ():
        assert result["task"]["type"] == metadata["pipeline_tag"] and {"type", "name"} <= result["dataset"].keys()
        assert all(isinstance(metric["value"], float) for metric in result["metrics"])


def test_a_card_tells_what_training_took_and_emissions_where_their_rate_was_stated(small_model, small_processor):
    tested = results() | {"environment": {"device": "cpu"}}
    tested["training"] |= {"seconds": 7200.0, "processes": 2}
    text = model_card(small_model, small_processor, results=tested)
    assert "**Training** took 2.0 hours in 2 processes on cpu. Emissions were not measured." in text
    assert "co2_eq_emissions" not in text
    tested["training"] |= {"seconds": 70.0, "processes": 1, "co2_g": 1.25}
    text = model_card(small_model, small_processor, results=tested)
    assert "took 1 min in 1 process on cpu, about 1.25 g of CO2" in text
    stated = yaml.safe_load(text.split("---\n")[1])["co2_eq_emissions"]
    assert stated["emissions"] == 1.25 and set(stated) <= {"emissions", "source", "training_type", "hardware_used"}


def test_the_card_says_what_to_cite(small_model, small_processor):
    text = model_card(small_model, small_processor)
    (entry,) = re.findall(r"```bibtex\n(.*?)\n```", text, re.DOTALL)
    assert entry.count("{") == entry.count("}") and "10.1109/ACCESS.2025.3598019" in entry and "{{SMILE-VLM}" in entry


def test_the_examples_of_a_card_lie_beside_it_and_work_as_it_says(small_model, small_processor, tmp_path):
    run = save_run(tmp_path / "run", small_model, small_processor)
    widget = ModelCard.load(run / "README.md").data.widget
    assert [example["src"] for example in widget] == [f"example_{name}.png" for name in mvfer.example_heads()]
    photos = pipeline(ModelCard.load(run / "README.md").data.pipeline_tag, model=str(run), trust_remote_code=True)
    labels = widget[0]["candidate_labels"].split(", ")
    inputs = small_processor(meshes=[str(mvfer.example_heads()["happiness"])], return_tensors="pt")
    seen = small_processor.image_processor.denormalize_views(inputs["pixel_values"][0])[1]
    with Image.open(run / "example_happiness.png") as picture:
        assert abs(seen.astype(int) - picture).max() == 0, "the front view, as the model sees it"
        assert {row["label"] for row in photos(picture, candidate_labels=labels)} == set(BASIC_EXPRESSIONS)


def test_a_classifier_needs_no_labels_and_a_model_of_photos_has_no_examples(small_model, small_processor, tmp_path):
    model = MVFERForFaceClassification.from_model(small_model, ["happiness", "sadness"])
    run = save_run(tmp_path / "run", model, small_processor)
    card = ModelCard.load(run / "README.md").data
    assert card.pipeline_tag == "image-classification" and "candidate_labels" not in card.widget[0]
    small_processor.image_processor.channels, channels = (
        ("red", "green", "blue"),
        small_processor.image_processor.channels,
    )
    try:
        assert write_examples(tmp_path, small_processor, takes_labels=True) == []
    finally:
        small_processor.image_processor.channels = channels


def described(**changes) -> dict:
    render = {"size_px": 64, "view_angles_deg": [[0.0, 0.0]], "channels": ["clay", "curvature", "depth"]}
    info = {"name": "mvfer-set", "license": "other", "source": "scans", "source_url": "https://a.b/c_d_e", "seed": 0}
    info |= {"source_version": "1", "sharing": "No.", "citation": "", "renderer": "r", "synthetic": False}
    info |= {"render_settings": render, "view_angles_deg": render["view_angles_deg"], "channels": render["channels"]}
    info["build"] = {"languages": ["en", "ja"], "geometry_only": False, "label_prompts": False}
    counts = {"train": 3, "validation": 0, "test": 1}
    return info | {"rows": counts, "subjects": counts, "rejected": 0} | changes


@pytest.mark.parametrize("license_", ["other", "cc0-1.0"])
def test_a_data_sets_metadata_are_as_the_hub_wants_them(license_):
    text = set_card.write(described(license=license_))
    metadata = yaml.safe_load(text.split("---\n")[1])
    assert metadata == DatasetCard(text).data.to_dict() and set(metadata) <= OF_SETS
    check_license(metadata)
    assert metadata.get("license_link") == ("https://a.b/c_d_e" if license_ == "other" else None)
    assert metadata["size_categories"] == ["n<1K"] and {name for _, name in SIZES} >= {"n<1K"}
    assert all(LANGUAGE.fullmatch(language) for language in metadata["language"])
    assert set(metadata["task_categories"]) <= set(SUPPORTED_TASKS)
    (config,) = metadata["configs"]
    assert [one["split"] for one in config["data_files"]] == ["train", "test"], "the splits that have rows"


def test_the_model_that_comes_with_the_package_has_a_card_that_the_hub_takes():
    card = ModelCard.load(Path(mvfer.model()) / "README.md")
    assert set(card.data.to_dict()) <= OF_MODELS and card.data.eval_results and card.data.license == "apache-2.0"
