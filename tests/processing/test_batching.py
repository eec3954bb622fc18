"""From rows to training batches: determinism, mirroring, dropout, unique captions and their targets."""

import io

import datasets
import numpy as np
import pytest
import torch
from PIL import Image

from mvfer.data.augmentation import Augmentation, drop_phrases, split_phrases
from mvfer.data.batching import Collator, ViewDataset
from mvfer.data.tokenizer import build_tokenizer
from processing import MVFERImageProcessor

ANGLES = [[-30.0, 0.0], [0.0, 0.0], [30.0, 0.0]]
CAPTIONS = [
    ["jaw dropped, left lip corner pulled up", "mouth wide open"],
    ["jaw dropped"],
    ["jaw dropped"],
    ["眉の内側が上がる、左の口角が上がる"],
]
NOTHING = Augmentation(view_dropout=0, occlusion=0, shift=0, mirror=False, gain=0, noise=0, drop_phrases=0)


def png(pixels: np.ndarray) -> dict:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return {"bytes": buffer.getvalue(), "path": None}


def make_split(*, frames: list[int] = (1, 1, 1, 1), size_px: int = 16, views: int = 3) -> datasets.Dataset:
    rng = np.random.default_rng(0)
    pixels = [rng.integers(1, 255, (n, views, size_px, size_px, 3), dtype=np.uint8) for n in frames]
    features = datasets.Features(
        {
            "views": datasets.List(datasets.List(datasets.Image())),
            "view_angles_deg": datasets.List(datasets.List(datasets.Value("float32"))),
            "captions": datasets.List(datasets.Value("string")),
            "frame_times_s": datasets.List(datasets.Value("float32")),
        }
    )
    columns = {
        "views": [[[png(view) for view in frame] for frame in row] for row in pixels],
        "view_angles_deg": [ANGLES[:views]] * len(frames),
        "captions": CAPTIONS[: len(frames)],
        "frame_times_s": [[t / 25 for t in range(n)] for n in frames],
    }
    split = datasets.Dataset.from_dict(columns, features=features)
    split.pixels = pixels
    return split


@pytest.fixture(scope="module")
def split():
    return make_split()


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer([text for texts in CAPTIONS for text in texts])


@pytest.fixture(scope="module")
def collate(tokenizer):
    return Collator(tokenizer, MVFERImageProcessor.from_render_settings({"size_px": 16}))


def equal(a: dict, b: dict) -> bool:
    a, b = flat(a), flat(b)
    return a.keys() == b.keys() and all(np.array_equal(a[key], b[key]) for key in a)


def flat(sample: dict) -> dict:
    """A sample with what happens to its views spread out."""
    return {key: value for key, value in sample.items() if key != "changes"} | vars(sample.get("changes", NOTHING))


def test_without_augmentation_a_row_comes_back_as_it_was_stored(split):
    sample = ViewDataset(split)[0]
    np.testing.assert_array_equal(sample["views"], split.pixels[0][0])
    np.testing.assert_array_equal(sample["view_angles_deg"], ANGLES)
    assert sample["view_mask"].all()
    assert sample["captions"] == CAPTIONS[0][:1] and sample["known_captions"] == CAPTIONS[0]


def test_rows_decoded_one_by_one_equal_rows_kept_in_memory(split):
    kept, by_row = ViewDataset(split), ViewDataset(split, memory_budget_bytes=0)
    assert all(equal(kept[i], by_row[i]) for i in range(4))


def test_several_splits_follow_one_another(split):
    both = ViewDataset([split, split])
    assert len(both) == 8 and both.num_views == 3
    assert equal(both[5] | {"source": 0, "draw": 0}, ViewDataset(split)[1] | {"draw": 0})
    assert both[5]["source"] == 1


def test_a_sample_is_a_function_of_seed_epoch_and_row(split):
    dataset, again = (ViewDataset(split, augmentation=Augmentation(), seed=3) for _ in range(2))
    order = [(epoch, row) for epoch in range(3) for row in range(4)]
    forward = {key: dataset[key] for key in order}
    assert all(equal(forward[key], again[key]) for key in reversed(order))
    assert not equal(forward[0, 1], forward[1, 1])
    assert not equal(forward[0, 1], ViewDataset(split, augmentation=Augmentation(), seed=4)[0, 1])


def test_view_dropout_never_drops_every_view(split):
    dataset = ViewDataset(split, augmentation=Augmentation(view_dropout=1.0))
    kept = [dataset[epoch, row]["view_mask"].sum() for epoch in range(20) for row in range(4)]
    assert set(kept) == {1}


def test_view_dropout_drops_about_as_many_views_as_asked(split):
    dataset = ViewDataset(split, augmentation=Augmentation(view_dropout=0.3))
    kept = np.mean([dataset[epoch, row]["view_mask"].mean() for epoch in range(100) for row in range(4)])
    assert 0.65 < kept < 0.77


def test_phrases_are_split_in_english_and_japanese_and_never_all_dropped():
    assert split_phrases("inner brows raised, jaw dropped") == ["inner brows raised", "jaw dropped"]
    assert split_phrases("眉が上がる、口が開く") == ["眉が上がる", "口が開く"]
    assert split_phrases("") == []
    rng = np.random.default_rng(0)
    shortened = {drop_phrases("a b, c d, e", rng, chance=0.9) for _ in range(200)}
    assert {"a b", "c d", "e"} <= shortened and "" not in shortened
    assert {drop_phrases("甲、乙", rng, chance=0.5) for _ in range(50)} == {"甲", "乙", "甲、乙"}


def test_augmentation_refuses_chances_that_are_none():
    with pytest.raises(ValueError, match="view_dropout"):
        Augmentation(view_dropout=1.5)


def test_captions_are_encoded_once_and_targets_mark_every_sample_they_hold_for(split, collate, tokenizer):
    dataset = ViewDataset(split)
    batch = collate([dataset[i] for i in range(4)])
    texts = tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)
    assert len(texts) == 3  # "jaw dropped" is shared
    expected = [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]
    torch.testing.assert_close(batch["text_targets"], torch.tensor(expected, dtype=torch.bool))


def test_a_batch_caption_that_is_known_to_hold_for_another_sample_is_no_negative(collate):
    views = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    batch = collate(
        [
            {"views": views, "captions": ["jaw dropped"], "known_captions": ["jaw dropped", "mouth wide open"]},
            {"views": views, "captions": ["mouth wide open"]},
        ]
    )
    assert batch["text_targets"].tolist() == [[True, True], [False, True]]


def test_phrase_targets_mark_each_action_of_each_sample(split, collate, tokenizer):
    dataset = ViewDataset(split)
    batch = collate([dataset[i] for i in range(4)])
    phrases = tokenizer.batch_decode(batch["phrase_input_ids"], skip_special_tokens=True)
    assert phrases[:2] == ["jaw dropped", "left lip corner pulled up"] and len(phrases) == 4
    expected = [[1, 1, 0, 0], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
    torch.testing.assert_close(batch["phrase_targets"], torch.tensor(expected, dtype=torch.bool))


def test_what_names_a_side_is_also_said_of_the_other(split, tokenizer):
    processor = MVFERImageProcessor.from_render_settings({"size_px": 16})
    views = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    texts = ["left lip corner pulled up, jaw dropped", "right lip corner pulled up", "jaw dropped"]
    samples = [{"views": views, "captions": [text]} for text in texts]
    batch = Collator(tokenizer, processor, sides=True)(samples)
    said = [text.replace(" ,", ",") for text in tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True)]
    assert said == [*texts, "right lip corner pulled up, jaw dropped", "left lip corner pulled up"]
    assert batch["text_targets"].tolist() == [[row == text for text in range(5)] for row in range(3)]
    phrases = tokenizer.batch_decode(batch["phrase_input_ids"], skip_special_tokens=True)
    assert phrases == ["left lip corner pulled up", "jaw dropped", "right lip corner pulled up"]
    assert batch["phrase_opposites"].tolist() == [2, -1, 0]
    assert "phrase_opposites" not in Collator(tokenizer, processor)(samples)


def test_a_phrase_dropped_from_the_caption_is_still_true_of_the_sample(split, collate):
    dataset = ViewDataset(split, augmentation=Augmentation(**{**vars(NOTHING), "drop_phrases": 0.5}))
    both = next(s for e in range(50) if (s := dataset[e, 0])["captions"] == ["jaw dropped"])
    other = next(s for e in range(50) if (s := dataset[e, 0])["captions"] == ["left lip corner pulled up"])
    assert collate([both, other])["phrase_targets"].all()


def test_pixels_are_normalised_as_the_image_processor_normalises_photos(split, collate):
    batch = collate([ViewDataset(split)[0]])
    photos = [Image.fromarray(view) for view in split.pixels[0][0]]
    slow = collate.image_processor(images=photos, return_tensors="pt")["pixel_values"]
    torch.testing.assert_close(batch["pixel_values"][0], slow)


def test_views_rendered_at_another_size_are_resized_to_the_models(split, tokenizer):
    collate = Collator(tokenizer, MVFERImageProcessor.from_render_settings({"size_px": 8}))
    assert collate([ViewDataset(split)[0]])["pixel_values"].shape == (1, 3, 3, 8, 8)


def test_unequal_numbers_of_views_are_padded_and_masked(collate):
    samples = [{"views": np.full((v, 16, 16, 3), v, np.uint8), "view_angles_deg": np.zeros((v, 2))} for v in (1, 3)]
    batch = collate(samples)
    assert batch["pixel_values"].shape == (2, 3, 3, 16, 16)
    assert batch["view_mask"].tolist() == [[True, False, False], [True, True, True]]
    assert batch["view_angles_deg"].shape == (2, 3, 2)


def test_without_any_caption_there_is_an_empty_text_that_is_true_of_no_sample(collate, tokenizer):
    batch = collate([{"views": np.zeros((3, 16, 16, 3), np.uint8)}] * 2)
    assert tokenizer.batch_decode(batch["input_ids"], skip_special_tokens=True) == [""]
    assert batch["text_targets"].tolist() == [[False], [False]] and "phrase_input_ids" not in batch


def test_sequences_are_sampled_in_time_padded_and_masked(tokenizer):
    split = make_split(frames=[20, 3])
    collate = Collator(tokenizer, MVFERImageProcessor.from_render_settings({"size_px": 16}), phrases=False)
    dataset = ViewDataset(split, num_frames=5)
    batch = collate([dataset[0], dataset[1]])
    assert batch["pixel_values"].shape == (2, 5, 3, 3, 16, 16)
    assert batch["frame_mask"].tolist() == [[True] * 5, [True] * 3 + [False] * 2]
    assert batch["view_mask"].shape == (2, 5, 3) and not batch["view_mask"][1, 3:].any()
    assert batch["frame_times_s"][0, [0, -1]].tolist() == pytest.approx([0, 19 / 25])
    pixels = {"pixel_values", "view_mask", "view_angles_deg", "frame_mask", "frame_times_s"}
    assert set(batch) == pixels | {"input_ids", "attention_mask", "text_targets"}


def test_a_loader_with_workers_gives_what_the_main_process_gives(split, collate):
    dataset = ViewDataset(split, augmentation=Augmentation(), seed=1)
    batches = [[(0, 2), (0, 1)], [(1, 3), (1, 0)]]
    alone, spread = (
        list(torch.utils.data.DataLoader(dataset, batch_sampler=batches, collate_fn=collate, num_workers=n))
        for n in (0, 1)
    )
    for one, other in zip(alone, spread, strict=True):
        torch.testing.assert_close(one, other)


def test_rows_that_make_no_sense_are_refused(split):
    with pytest.raises(ValueError, match="captions"):
        ViewDataset(split.remove_columns("captions"))
    with pytest.raises(ValueError, match="0 rows|rows"):
        ViewDataset(split.select([]))
    wrong = split.remove_columns("view_angles_deg").add_column("view_angles_deg", [ANGLES[:2]] * 4)
    with pytest.raises(ValueError, match=r"expected \(frames, views\) \(1, 2\) .* got \(1, 3\)"):
        ViewDataset(wrong)
    broken = [[[{"bytes": b"no picture", "path": None}] * 3]] * 4
    with pytest.raises(ValueError, match="row 0: the views cannot be read"):
        ViewDataset(split.remove_columns("views").add_column("views", broken))


def test_paraphrases_of_one_meaning_are_positives_of_one_another():
    from mvfer.data.batching import meaning

    assert meaning("cheeks raised, lip corners pulled up") == meaning("smiling mouth, cheeks pushed up")
    assert meaning("口角が上がっている") == meaning("corners of the mouth lifted")
    assert meaning("left eye closed") != meaning("right eye closed")
    assert meaning("a scar, smiling mouth") == {"a scar", "12"}


def with_units(split, units: list[dict]):
    named = [[{"name": name, "intensity": value} for name, value in row.items()] for row in units]
    return split.add_column("action_units", named)


FRESH = [{"12L": 0.9, "26": 0.4}, {"26": 0.9}, {"26": 0.6}, {"12L": 0.8, "1": 0.3}]


def fresh_split():
    split = with_units(make_split(), FRESH)
    captions = [["jaw dropped, left lip corner pulled up"], ["jaw dropped"], ["jaw lowered"], ["眉の内側が上がる"]]
    return split.remove_columns("captions").add_column("captions", captions)


def test_fresh_captions_are_said_anew_in_every_epoch_and_are_true():
    from mvfer.data.wording import facts, languages_of, meaning, mirrored_units, units_of

    options = {"captions": "fresh", "languages": ("en", "ja"), "seed": 1}
    plain = Augmentation(**{**vars(NOTHING), "mirror": True})
    dataset, again = (ViewDataset(fresh_split(), augmentation=plain, **options) for _ in range(2))
    drawn = [dataset[epoch, 0] for epoch in range(60)]
    for epoch, sample in enumerate(drawn):
        assert sample["captions"] == again[epoch, 0]["captions"]
        (caption,) = sample["captions"]
        units = FRESH[0] if "12L" in meaning(caption) else mirrored_units(FRESH[0])
        assert units_of(meaning(caption)) == set(units) and meaning(caption) <= facts(units)
    texts = {sample["captions"][0] for sample in drawn}
    assert len(texts) > 40 and languages_of(texts) == ["en", "ja"]


def test_rows_whose_captions_are_not_their_units_keep_them_and_stored_captions_do_not_change():
    plain = Augmentation(**{**vars(NOTHING), "mirror": False})
    fresh = ViewDataset(fresh_split(), augmentation=plain, captions="fresh")
    assert all(fresh[epoch, 3]["captions"] == ["眉の内側が上がる"] for epoch in range(5))
    stored = ViewDataset(fresh_split(), augmentation=plain)
    assert all(stored[epoch, 1]["captions"] == ["jaw dropped"] for epoch in range(5))
    with pytest.raises(ValueError, match="stored or fresh"):
        ViewDataset(fresh_split(), captions="new")


def test_degrees_are_true_of_what_shows_them_and_of_nothing_else(collate):
    dataset = ViewDataset(fresh_split())
    strong, middle = dataset[1], dataset[2]  # 26 at 0.9 and at 0.6
    strong["captions"], middle["captions"] = ["jaw strongly lowered"], ["lower jaw dropped"]
    weak = dataset[1] | {"captions": ["jaw slightly lowered"], "known_captions": ["jaw slightly lowered"]}
    batch = collate([strong, middle, weak])
    expected = [[True, True, False], [False, True, False], [False, True, True]]
    assert batch["text_targets"].tolist() == expected == batch["phrase_targets"].tolist()


def test_a_phrase_of_several_actions_is_true_where_all_of_them_are(collate):
    views = np.zeros((1, 16, 16, 3), dtype=np.uint8)
    texts = ["smiling with parted lips", "lips parted", "smiling, lips parted, brows lowered"]
    batch = collate([{"views": views, "captions": [text]} for text in texts])
    phrases = ["smiling with parted lips", "lips parted", "smiling", "brows lowered"]
    expected = [[True, True, True, False], [False, True, False, False], [True, True, True, True]]
    assert batch["phrase_targets"].tolist() == expected and len(phrases) == batch["phrase_input_ids"].shape[0]
    assert batch["text_targets"].tolist() == [[True, False, False], [False, True, False], [False, False, True]]
