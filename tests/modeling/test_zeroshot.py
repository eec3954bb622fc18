import math
from types import SimpleNamespace

import pytest
import torch
from transformers import BatchEncoding

from modeling_mvfer.zeroshot_mvfer import class_embeddings, class_logits, prompts_key


class Letters:
    """A tokenizer that gives each character its code, and remembers how many texts it saw."""

    seen = 0

    def __call__(self, texts, *, padding, truncation, max_length, return_tensors):
        self.seen += len(texts)
        length = min(max_length, max(map(len, texts)))
        ids = [[ord(c) % 64 for c in text[:length]] + [0] * (length - len(text)) for text in texts]
        ids = torch.tensor(ids)
        return BatchEncoding({"input_ids": ids, "attention_mask": (ids > 0).long()})


class MeanOfLetters:
    """A text tower that averages letter vectors."""

    device = torch.device("cpu")
    config = SimpleNamespace(text_config=SimpleNamespace(max_position_embeddings=12))
    table = torch.randn(64, 5, generator=torch.Generator().manual_seed(0))

    def get_text_features(self, input_ids, attention_mask, return_dict):
        mask = attention_mask[..., None]
        return SimpleNamespace(pooler_output=(self.table[input_ids] * mask).sum(1) / mask.sum(1))


def random_classes(*counts, dim=5):
    generator = torch.Generator().manual_seed(1)
    normalize = torch.nn.functional.normalize
    return {str(k): normalize(torch.randn(n, dim, generator=generator), dim=-1) for k, n in enumerate(counts)}


def test_class_embeddings_are_unit_length_and_keep_the_order_of_classes_and_prompts():
    prompts = {"b": ["one", "two"], "a": ["two"]}
    embeds = class_embeddings(MeanOfLetters(), Letters(), prompts, batch_size=1)
    assert list(embeds) == ["b", "a"] and embeds["b"].shape == (2, 5)
    torch.testing.assert_close(embeds["b"].norm(dim=-1), torch.ones(2))
    torch.testing.assert_close(embeds["b"][1], embeds["a"][0])


def test_a_prompt_shared_by_classes_is_encoded_once():
    tokenizer = Letters()
    class_embeddings(MeanOfLetters(), tokenizer, {"a": ["same", "same"], "b": ["same", "other"]})
    assert tokenizer.seen == 2


def test_with_one_prompt_per_class_the_logits_are_clips():
    classes, images = random_classes(1, 1, 1), torch.randn(4, 5)
    torch.testing.assert_close(
        class_logits(images, classes, scale=7.0), 7 * images @ torch.cat(list(classes.values())).T
    )


def test_logits_are_the_log_of_the_mean_likelihood_over_prompts():
    classes, images = random_classes(3, 2), torch.randn(4, 5)
    for k, embeds in enumerate(classes.values()):
        slow = [math.log(sum(math.exp(2 * float(x @ e)) for e in embeds) / len(embeds)) for x in images]
        torch.testing.assert_close(class_logits(images, classes, scale=2.0)[:, k], torch.tensor(slow))


def test_repeating_a_class_s_prompts_changes_nothing():
    classes, images = random_classes(2, 1), torch.randn(4, 5)
    repeated = classes | {"0": classes["0"].repeat(5, 1)}
    torch.testing.assert_close(class_logits(images, repeated, scale=20.0), class_logits(images, classes, scale=20.0))


@pytest.mark.parametrize("prompts", [{}, {"a": []}, {"a": [" "]}, {"a": "not a list"}])
def test_classes_without_prompts_are_refused(prompts):
    with pytest.raises(ValueError, match="prompts"):
        class_embeddings(MeanOfLetters(), Letters(), prompts)


def test_embeddings_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r"expected image_embeds \(B, D\)"):
        class_logits(torch.randn(2, 4), random_classes(1, 1), scale=1.0)


def test_the_key_of_prompts_knows_their_words_and_nothing_else():
    key = prompts_key({"a": ["x", "y"], "b": ["z"]})
    assert key == prompts_key({"b": ["z"], "other name": ["y", "x"]}) and len(key) == 16
    assert len({key, prompts_key({"a": ["x"], "b": ["y", "z"]}), prompts_key({"a": ["x", "y"]})}) == 3
