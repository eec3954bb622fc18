"""The small tokenizer: a stock CLIPTokenizer whose padding is not its end, and which reads anything."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoTokenizer, CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from mvfer.data.tokenizer import build_tokenizer
from mvfer.data.wording import known_phrases
from processing.facs_phrases_mvfer import HELD_OUT_PHRASES

TEXTS = ["inner brows raised, jaw dropped", "left lip corner pulled up", "眉の内側が上がる、口が開く"] * 3
TIES = [f"{a}{b}{c}" for a in "ab" for b in "cd" for c in "efgh"]  # all pairs are equally frequent


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(TEXTS)


def test_a_word_of_the_captions_is_one_token(tokenizer):
    ids = tokenizer("inner brows raised, jaw dropped").input_ids
    assert len(ids) == 6 + 2  # five words, a comma, BOS and EOS
    assert ids[0] == tokenizer.bos_token_id and ids[-1] == tokenizer.eos_token_id


def test_any_text_survives_encoding_and_nothing_is_unknown(tokenizer):
    for text in ("zebra crossing", "眉間にしわ", "ünïcödé 🙂"):
        ids = tokenizer(text).input_ids
        assert tokenizer.unk_token_id not in ids[1:-1]
        assert tokenizer.decode(ids, skip_special_tokens=True) == text


def test_padding_is_neither_eos_nor_attended(tokenizer):
    batch = tokenizer(["left", TEXTS[0]], padding=True, return_tensors="pt")
    assert len({tokenizer.pad_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id}) == 3
    assert batch["attention_mask"].sum(1).tolist() == [3, 8]
    assert (batch["input_ids"] == tokenizer.eos_token_id).sum(1).tolist() == [1, 1]
    assert (
        batch["input_ids"].argmax(1) == batch["attention_mask"].sum(1) - 1
    ).all()  # EOS is the highest id, as in CLIP


def test_clip_pools_the_same_vector_with_and_without_padding(tokenizer):
    torch.manual_seed(0)
    ids = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    sizes = dict(
        hidden_size=16, intermediate_size=32, num_hidden_layers=2, num_attention_heads=2, max_position_embeddings=64
    )
    model = CLIPTextModel(CLIPTextConfig(vocab_size=len(tokenizer), **sizes, **ids)).eval()
    with torch.no_grad():
        alone = model(**tokenizer(["left"], return_tensors="pt")).pooler_output
        padded = model(**tokenizer(["left", TEXTS[0]], padding=True, return_tensors="pt")).pooler_output[:1]
    torch.testing.assert_close(alone, padded)


def test_long_text_is_cut_at_64_tokens_and_still_ends(tokenizer):
    ids = tokenizer("jaw " * 200, truncation=True).input_ids
    assert len(ids) == 64 and ids[-1] == tokenizer.eos_token_id


def test_it_comes_back_from_disk_as_a_clip_tokenizer(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    for auto in (CLIPTokenizer, AutoTokenizer):
        loaded = auto.from_pretrained(tmp_path)
        assert isinstance(loaded, CLIPTokenizer)
        assert loaded.pad_token_id == tokenizer.pad_token_id and loaded.model_max_length == 64
        texts = [*TEXTS[:3], "unseen words 🙂"]
        assert loaded(texts, padding=True).input_ids == tokenizer(texts, padding=True).input_ids


def test_order_of_the_texts_does_not_matter():
    assert build_tokenizer(TEXTS).get_vocab() == build_tokenizer(TEXTS[::-1]).get_vocab()


@pytest.mark.slow
def test_every_process_learns_the_same_tokenizer():
    program = f"from mvfer.data.tokenizer import build_tokenizer as b; print(b({TIES!r}).backend_tokenizer.to_str())"
    others = [subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True) for _ in "ab"]
    assert {other.stdout.strip() for other in others} == {build_tokenizer(TIES).backend_tokenizer.to_str()}


def test_the_vocabulary_keeps_within_its_bound():
    tokenizer = build_tokenizer([f"word{i} jaw" for i in range(500)], vocab_size=600)
    assert len(tokenizer) <= 600
    assert max(tokenizer.get_vocab().values()) == len(tokenizer) - 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        (dict(texts=[]), "at least one text"),
        (dict(texts=[" "]), "at least one text"),
        (dict(texts="jaw"), "one string"),
        (dict(texts=["jaw"], vocab_size=100), "vocab_size >= 515"),
        (dict(texts=["jaw"], model_max_length=2), "model_max_length >= 3"),
    ],
)
def test_input_that_cannot_work_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        build_tokenizer(**arguments)


@pytest.fixture(scope="module")
def bank_tokenizer():
    return build_tokenizer(known_phrases())


def test_held_out_wordings_are_made_of_tokens_that_known_ones_teach(bank_tokenizer):
    taught = {token for text in known_phrases() for token in bank_tokenizer(text).input_ids}
    unseen = {}
    for language in ("en", "ja"):
        tokens = [
            token
            for bank in HELD_OUT_PHRASES.values()
            for text in bank[language]
            for token in bank_tokenizer(text).input_ids
        ]
        unseen[language] = sum(token not in taught for token in tokens) / len(tokens)
    assert unseen["en"] == 0 and unseen["ja"] < 0.02
    assert len(bank_tokenizer) < 1700


def test_japanese_tokens_end_where_the_script_changes(bank_tokenizer):
    tokens = bank_tokenizer("下唇が顎の方へ引き下げられている").input_ids[1:-1]
    assert [bank_tokenizer.decode([token]) for token in tokens][:6] == ["下唇", "が", "顎", "の", "方", "へ"]
    assert bank_tokenizer.decode(tokens) == "下唇が顎の方へ引き下げられている"
    for text in ("口角が上がっている", "唇をすぼめている、眉をひそめている"):
        ids = bank_tokenizer(text).input_ids
        assert bank_tokenizer.decode(ids, skip_special_tokens=True).replace(" ", "") == text
