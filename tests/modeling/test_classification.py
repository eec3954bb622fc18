"""The classifier: its start, its loss, its folder."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoModelForImageClassification, pipeline

from modeling_mvfer import Classifier, MeshClassificationPipeline, MVFERForFaceClassification, modeling_mvfer
from modeling_mvfer.zeroshot_mvfer import class_embeddings, class_logits
from mvfer.hub.load import load_run
from mvfer.hub.run_folder import save_run
from tests.modeling.stranger import as_a_stranger

LABELS = ["happiness", "sadness", "surprise"]
OUR_PACKAGES = ("modeling_mvfer", "processing", "dataset_scripts", "mvfer", "train")


@pytest.fixture
def classifier(tiny_model):
    """`classifier(**fields)`: three classes on a tiny model whose fusion is not neutral any more."""

    def build(**fields):
        torch.manual_seed(0)
        return MVFERForFaceClassification.from_model(tiny_model(trained=True), LABELS, **fields)

    return build


@torch.no_grad()
def test_the_start_is_the_zero_shot_classifier(small_model, small_processor):
    prompts = small_processor.prompts_for(LABELS)
    prompts["sadness"] = prompts["sadness"][:5]  # classes may have different numbers of prompts
    embeds = class_embeddings(small_model, small_processor.tokenizer, prompts)
    model = MVFERForFaceClassification.from_zero_shot(small_model, embeds)
    pixels = torch.randn(4, 3, 3, 32, 32)
    image_embeds = torch.nn.functional.normalize(small_model.get_image_features(pixels).pooler_output, dim=-1)
    expected = class_logits(image_embeds, embeds, scale=small_model.logit_scale.exp())
    torch.testing.assert_close(model(pixels).logits, expected)
    assert list(model.config.label2id) == LABELS
    assert small_model.config.num_labels == 2 and hasattr(small_model, "text_model")  # as it was


@torch.no_grad()
def test_outputs_have_the_shapes_of_the_contract_and_masked_equals_absent(classifier):
    model, pixels = classifier(), torch.randn(2, 4, 3, 3, 16, 16)  # (B, T, V, C, H, W)
    outputs = model(pixels)
    assert outputs.loss is None and outputs.logits.shape == (2, 3)
    assert outputs.view_weights.shape == (2, 4, 3) and outputs.frame_weights.shape == (2, 4)
    torch.testing.assert_close(outputs.image_embeds.norm(dim=-1), torch.ones(2))
    mask = torch.tensor([True, True, False]).expand(2, 4, 3)
    angles = torch.tensor([[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]])
    masked, absent = model(pixels, mask, angles), model(pixels[:, :, :2], None, angles[:2])
    torch.testing.assert_close(masked.logits, absent.logits)


def test_there_is_no_text_tower_and_every_parameter_learns(classifier):
    model = classifier(rows_per_class=[2, 1, 3])
    assert not any("text" in name or "objective" in name for name in model.state_dict())
    model(torch.randn(4, 2, 3, 3, 16, 16), labels=torch.tensor([0, 1, 2, 0])).loss.backward()
    assert [name for name, p in model.named_parameters() if p.grad is None] == []


def test_single_label_loss_is_cross_entropy_weighed_by_class(classifier):
    logits, labels = torch.randn(5, 3), torch.tensor([0, 2, 1, 0, 2])
    plain = -logits.log_softmax(-1)[range(5), labels]
    torch.testing.assert_close(classifier().loss(logits, labels), plain.mean())
    weights = torch.tensor([0.5, 1.0, 2.0])
    weighed = classifier(class_weights=weights.tolist()).loss(logits, labels)
    torch.testing.assert_close(weighed, (weights[labels] * plain).mean())


def test_multi_label_loss_judges_every_label_alone(classifier):
    model = classifier(problem_type="multi_label_classification", class_weights=[1.0, 3.0, 1.0])
    logits, labels = torch.randn(4, 3), torch.tensor([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 1]])
    p, y = logits.sigmoid(), labels.float()
    expected = -(y * p.log() * torch.tensor([1.0, 3.0, 1.0]) + (1 - y) * (1 - p).log()).mean()
    torch.testing.assert_close(model.loss(logits, labels), expected)


def test_unknown_labels_of_several_teach_nothing(classifier):
    model = classifier(problem_type="multi_label_classification")
    logits, labels = torch.randn(2, 3, requires_grad=True), torch.tensor([[1, -1, 0], [-1, 0, 1]])
    model.loss(logits, labels).backward()
    assert (logits.grad != 0).tolist() == [[True, False, True], [False, True, True]]


@pytest.mark.parametrize(
    ("fields", "labels", "message"),
    [
        ({}, torch.tensor([0, 3]), r"expected labels in 0\.\.2"),
        ({}, torch.tensor([0, -1]), r"expected labels in 0\.\.2"),
        ({}, torch.tensor([[1, 0, 0], [0, 1, 0]]), "one whole label"),
        ({"problem_type": "multi_label_classification"}, torch.tensor([0, 1]), "zeros and ones"),
    ],
)
def test_labels_that_do_not_fit_are_refused(classifier, fields, labels, message):
    with pytest.raises(ValueError, match=message):
        classifier(**fields)(torch.randn(2, 3, 3, 16, 16), labels=labels)


@pytest.mark.parametrize(
    "fields", [{"class_weights": [1.0]}, {"rows_per_class": [1, 1]}, {"problem_type": "regression"}]
)
def test_settings_that_do_not_fit_the_classes_are_refused(classifier, fields):
    with pytest.raises(ValueError, match=next(iter(fields))):
        classifier(**fields)


@torch.no_grad()
def test_the_folder_of_a_pretrained_model_gives_its_vision_weights_and_a_new_head(tiny_model, tmp_path):
    pretrained = tiny_model(trained=True)
    pretrained.save_pretrained(tmp_path)
    names = dict(enumerate(LABELS))
    model, info = MVFERForFaceClassification.from_pretrained(
        tmp_path, id2label=names, label2id={label: k for k, label in names.items()}, output_loading_info=True
    )
    assert info["missing_keys"] == {"head.weight", "head.bias", "head.logit_scale"} and not info["unexpected_keys"]
    pixels = torch.randn(2, 3, 3, 16, 16)
    torch.testing.assert_close(
        model.get_image_features(pixels).pooler_output, pretrained.get_image_features(pixels).pooler_output
    )
    assert model.head.bias.abs().max() == 0 and 0.3 < model.head.weight.norm(dim=1).mean() < 3


@torch.no_grad()
def test_a_plain_clip_gives_its_vision_weights(tiny_clip):
    clip, folder = tiny_clip
    model = MVFERForFaceClassification.from_pretrained(folder)
    photo = torch.randn(2, 3, 16, 16)
    torch.testing.assert_close(
        model.get_image_features(photo).pooler_output, clip.get_image_features(photo).pooler_output
    )


@pytest.fixture(scope="module")
def tuned(small_model, small_processor):
    embeds = class_embeddings(small_model, small_processor.tokenizer, small_processor.prompts_for(LABELS))
    model = MVFERForFaceClassification.from_zero_shot(small_model, embeds, class_weights=[1.0, 2.0, 1.0])
    with torch.no_grad():
        model.head.bias.add_(torch.tensor([0.1, -0.2, 0.3]))
    return model


@pytest.fixture(scope="module")
def tuned_run(tuned, small_processor, tmp_path_factory):
    return save_run(tmp_path_factory.mktemp("runs") / "tuned", tuned, small_processor)


@torch.no_grad()
def test_a_saved_classifier_loads_at_home_with_equal_logits(tuned, tuned_run):
    model, _ = load_run(tuned_run)
    assert type(model) is MVFERForFaceClassification and type(tuned) is type(
        AutoModelForImageClassification.from_pretrained(tuned_run)
    )
    assert model.config.class_weights == [1.0, 2.0, 1.0] and list(model.config.id2label.values()) == LABELS
    pixels = torch.randn(2, 3, 3, 32, 32)
    torch.testing.assert_close(model(pixels).logits, tuned(pixels).logits, rtol=0, atol=1e-5)


def scores(rows):
    return {row["label"]: row["score"] for row in rows}


def scores_of(probabilities):
    return dict(zip(LABELS, probabilities.tolist(), strict=True))


@torch.no_grad()
def test_the_stock_pipeline_takes_a_photo_and_ours_a_mesh(tuned, tuned_run, small_processor, face_obj):
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    found = pipeline("image-classification", model=str(tuned_run), trust_remote_code=True, device="cpu")(photo)
    expected = tuned(**small_processor(images=[photo], return_tensors="pt")).logits.softmax(-1)[0]
    assert scores(found) == pytest.approx(scores_of(expected), abs=1e-5)
    classify = pipeline("mesh-classification", model=str(tuned_run), trust_remote_code=True, device="cpu")
    mesh = tuned(**small_processor(meshes=[face_obj], return_tensors="pt")).logits.softmax(-1)[0]
    rows = classify([face_obj, photo])
    assert scores(rows[0]) == pytest.approx(scores_of(mesh), abs=1e-5)
    assert scores(rows[1]) == pytest.approx(scores_of(expected), abs=1e-5)
    one_view = classify(face_obj, adaptive_views=1.0)
    assert scores(one_view) != pytest.approx(scores_of(mesh), abs=1e-5)
    assert scores(classify(face_obj, adaptive_views=0.0)) == pytest.approx(scores_of(mesh), abs=1e-5)


@torch.no_grad()
def test_a_multi_label_model_gives_every_label_a_probability_of_its_own(small_model, small_processor, face_obj):
    fields = {"problem_type": "multi_label_classification"}
    model = MVFERForFaceClassification.from_model(small_model, LABELS, **fields)
    classify = MeshClassificationPipeline(
        model=model, processor=small_processor, task="mesh-classification", device="cpu"
    )
    expected = model(**small_processor(meshes=[face_obj], return_tensors="pt")).logits.sigmoid()[0]
    assert scores(classify(face_obj)) == pytest.approx(scores_of(expected), abs=1e-5)
    assert classify([]) == []
    with pytest.raises(ValueError, match="several at once"):
        classify(face_obj, adaptive_views=0.5)


STRANGER = """
from transformers import AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained(folder, **options).eval()
processor = AutoProcessor.from_pretrained(folder, **options)
with torch.no_grad():
    found["logits"] = model(**processor(meshes=[mesh], return_tensors="pt")).logits.tolist()
found["inferred"] = pipeline(model=folder, **options)(mesh)
found["photo"] = pipeline("image-classification", model=folder, **options)(Image.new("RGB", (40, 50)))
"""


@pytest.mark.slow
def test_a_saved_classifier_works_where_our_packages_are_missing(tuned, tuned_run, small_processor, face_obj, tmp_path):
    found = as_a_stranger(STRANGER, {"folder": str(tuned_run), "mesh": face_obj}, cache=tmp_path)
    with torch.no_grad():
        expected = tuned(**small_processor(meshes=[face_obj], return_tensors="pt")).logits
    torch.testing.assert_close(torch.tensor(found["logits"]), expected, rtol=0, atol=1e-5)
    for name in ("inferred", "photo"):
        assert {row["label"] for row in found[name]} == set(LABELS)
        assert sum(row["score"] for row in found[name]) == pytest.approx(1)


@torch.no_grad()
@pytest.mark.parametrize("asked", [{"num_labels": 5}, {"id2label": {0: "x", 1: "y"}, "label2id": {"x": 0, "y": 1}}])
def test_a_published_classifier_takes_a_new_head_and_keeps_its_vision(classifier, tmp_path, asked):
    published = classifier(rows_per_class=[2, 1, 3], class_weights=[1.0, 2.0, 1.0], calibration={"temperature": 2.0})
    published.save_pretrained(tmp_path)
    model = AutoModelForImageClassification.from_pretrained(tmp_path, ignore_mismatched_sizes=True, **asked)
    number = model.num_labels
    assert number == asked.get("num_labels", 2) and model.head.weight.shape == (number, 8)
    assert (model.config.class_weights, model.config.rows_per_class, model.config.calibration) == (None,) * 3
    assert 0.3 < model.head.weight.norm(dim=1).mean() < 3 and model.head.bias.abs().max() == 0
    pixels = torch.randn(2, 3, 3, 16, 16)
    features = [m.get_image_features(pixels).pooler_output for m in (model.eval(), published)]
    torch.testing.assert_close(*features)
    again = AutoModelForImageClassification.from_pretrained(tmp_path)
    assert again.config.calibration.temperature == 2.0 and list(again.config.rows_per_class) == [2, 1, 3]


def test_a_zero_shot_calibration_is_not_one_of_a_new_head(tiny_model, tmp_path):
    pretrained = tiny_model(calibration={"temperature": 2.0, "prompts_key": "0123456789abcdef"})
    pretrained.save_pretrained(tmp_path)
    model = AutoModelForImageClassification.from_pretrained(tmp_path, num_labels=4)
    assert Classifier.from_head(model).calibration is None and model.config.num_labels == 4


def test_a_classifier_opened_as_a_model_of_texts_says_that_its_texts_mean_nothing(classifier, tmp_path, monkeypatch):
    classifier().save_pretrained(tmp_path)
    said = []
    monkeypatch.setattr(modeling_mvfer.logger, "warning", said.append)
    model = AutoModel.from_pretrained(tmp_path)
    assert said == [modeling_mvfer.NO_TEXT_TOWER]
    assert model.logit_scale.item() == pytest.approx(model.config.logit_scale_init_value)
    assert all(p.isfinite().all() and p.abs().max() < 10 for p in model.text_model.parameters())
