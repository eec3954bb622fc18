"""A small tokenizer for models trained from scratch: captions in, a stock `transformers.CLIPTokenizer` out.

CLIP's own vocabulary has 49,408 entries, and its embedding table would outweigh a whole demo model. `build_tokenizer`
learns a byte-level BPE from the texts a run will see, large enough that frequent words are one token. Any other text,
Japanese and emoji included, still encodes, byte by byte in the worst case, so nothing is ever unknown.

Japanese has no spaces, and pairs merged across its words would make tokens that a paraphrase does not share. Its tokens end where
the script changes: as a rule between a stem in kanji and what kana add to it, and after every particle.
"""

import json
import re
import unicodedata
from collections.abc import Iterable

from tokenizers import Tokenizer, pre_tokenizers, trainers
from tokenizers.models import BPE
from transformers import CLIPTokenizer

PAD, BOS, EOS = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
SUFFIX = "</w>"
_UNSPACED = re.compile(r"[\u3005\u3040-\u30ff\u3400-\u9fff]+")
_SCRIPTS = re.compile(r"[\u3040-\u309f]+|[\u30a0-\u30ff]+|[\u3005\u3400-\u9fff]+")  # hiragana, katakana, kanji

LONGEST_PART = 7  # a Japanese token has fewer characters than this


def _byte_symbols() -> list[str]:
    """The printable stand-in of every byte, as GPT-2 chose them: printable ones stand for themselves."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = iter(range(256))
    return [chr(byte) if byte in printable else chr(256 + next(others)) for byte in range(256)]


_BYTE_SYMBOLS = _byte_symbols()


def build_tokenizer(texts: Iterable[str], *, vocab_size: int = 2048, model_max_length: int = 64) -> CLIPTokenizer:
    """Learn a tokenizer from texts.

    Args:
        texts: captions and prompts. Order does not matter, repetitions count.
        vocab_size: upper bound; 515 entries are bytes and special tokens, the rest learned words and parts of words.
        model_max_length: `truncation=True` cuts at this many tokens, EOS included.
    Returns:
        `transformers.CLIPTokenizer`: `save_pretrained` and `from_pretrained` work as usual. The padding token has its
        own id, `pad_token_id == 0`, so it is never taken for EOS. EOS is the highest id, as in CLIP, so both of CLIP's
        ways to find it (first EOS, highest id) agree; put `eos_token_id` and `pad_token_id` into the text
        configuration.
    Raises:
        ValueError: if there is no text, or the sizes are too small to hold the bytes or a word.
    """
    if isinstance(texts, str):
        raise ValueError("expected a list of texts, got one string")
    texts = sorted(text for text in texts if text.strip())
    if not texts:
        raise ValueError("expected at least one text that is not blank, got none")
    if model_max_length < 3:
        raise ValueError(f"expected model_max_length >= 3 (BOS, a token, EOS), got {model_max_length}")
    byte_symbols = sorted(pre_tokenizers.ByteLevel.alphabet())  # 256 printable stand-ins
    alphabet = [PAD, *byte_symbols, *(symbol + SUFFIX for symbol in byte_symbols)]
    if vocab_size < len(alphabet) + 2:
        raise ValueError(f"expected vocab_size >= {len(alphabet) + 2} (bytes and special tokens), got {vocab_size}")

    room = vocab_size - len(alphabet) - 2
    spaced = _learn_merges([_UNSPACED.sub(" ", text) for text in texts], vocab_size=room, byte_symbols=byte_symbols)
    unspaced = _learn_unspaced_merges(texts, vocab_size=room)
    merges = unspaced[: max(room // 2, room - len(spaced))]
    merges += spaced[: room - len(merges)]
    learned = dict.fromkeys("".join(merge) for merge in merges)
    tokens = [*alphabet, *(token for token in learned if token not in alphabet), BOS, EOS]
    return CLIPTokenizer(
        vocab={token: index for index, token in enumerate(tokens)},
        merges=merges,
        unk_token=EOS,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=model_max_length,
    )


def _learn_merges(texts: list[str], *, vocab_size: int, byte_symbols: list[str]) -> list[tuple[str, str]]:
    """At most `vocab_size` merges, with the normaliser and the word splitting of `CLIPTokenizer` itself."""
    stock = CLIPTokenizer(pad_token=PAD).backend_tokenizer
    learner = Tokenizer(BPE(end_of_word_suffix=SUFFIX))
    learner.normalizer, learner.pre_tokenizer = stock.normalizer, stock.pre_tokenizer
    trainer = trainers.BpeTrainer(
        # The trainer counts the alphabet, and the word ends it meets, as part of its vocabulary: leave room, cut below.
        vocab_size=vocab_size + 2 * len(byte_symbols),
        initial_alphabet=byte_symbols,
        # Word ends get their ids here, in this order. Left to the trainer they come in the order of a hash table: ties
        # between merges then fall otherwise in every process, and two ranks would read one caption differently.
        special_tokens=[symbol + SUFFIX for symbol in byte_symbols],
        end_of_word_suffix=SUFFIX,
        max_token_length=18,  # bytes: an English word
        show_progress=False,
    )
    learner.train_from_iterator(texts, trainer)
    return [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]][:vocab_size]


def _learn_unspaced_merges(texts: list[str], *, vocab_size: int) -> list[tuple[str, str]]:
    """At most `vocab_size` merges of Japanese: bytes to characters, then characters to tokens of one script.

    A merge is followed by its twin at the end of a run of letters, where CLIP marks the last byte, if texts end so.
    """
    runs = [run for text in texts for run in _UNSPACED.findall(unicodedata.normalize("NFC", text))]
    ends = tuple({_SCRIPTS.findall(run)[-1] for run in runs})
    learner = Tokenizer(BPE())
    learner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, max_token_length=LONGEST_PART, show_progress=False)
    learner.train_from_iterator([" ".join(_SCRIPTS.findall(run)) for run in runs], trainer)
    parts = [tuple(merge) for merge in json.loads(learner.to_str())["model"]["merges"]]

    def symbols(part: str) -> str:
        return "".join(_BYTE_SYMBOLS[byte] for byte in part.encode())

    merges = []
    for character in sorted({character for run in runs for character in run}):
        first, second, third = list(symbols(character))  # three bytes in UTF-8, all of them
        merges += [(first, second), (first + second, third)]
        merges += [(first + second, third + SUFFIX)] if any(end.endswith(character) for end in ends) else []
    for left, right in parts:
        merges.append((symbols(left), symbols(right)))
        if any(end.endswith(left + right) for end in ends):
            merges.append((symbols(left), symbols(right) + SUFFIX))
    return list(dict.fromkeys(merges))[:vocab_size]
