"""From stored views and captions to training batches. In: rows of a data set. Out: what `MVFERModel.forward` takes.

`ViewDataset` decodes views once, chooses a caption and draws how views are varied; a sample is a function of (seed,
epoch, row) and of nothing else, so a resumed run sees what an unbroken one would. `Collator` pads, varies and normalises, and
makes captions unique: many scans share a caption, so targets are multi-positive.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.nn.functional import interpolate
from torch.utils.data import Dataset

from mvfer.data.augmentation import Augmentation, draw_changes, drop_phrases, mirror_cameras
from mvfer.data.baselines import rows_at_rest
from mvfer.data.schema import decode_view
from mvfer.data.view_changes import PREFIX, change_views, gather_changes
from mvfer.data.wording import meaning, mirrored_units, reword, split_phrases, told_whole, units_of, units_told
from processing.names_mvfer import printable
from processing.prompts_mvfer import swap_sides
from processing.rank_pooling_mvfer import rank_pool
from processing.view_batches_mvfer import FRAMES, pad_views, sample_frames

__all__ = ["Augmentation", "Collator", "ViewDataset", "meaning", "split_phrases"]

CAPTIONS = ("stored", "fresh")
MEMORY_BUDGET_BYTES = 4 * 2**30


class ViewDataset(Dataset):
    """Rows of one or several splits as training samples.

    Args:
        splits: one `datasets.Dataset` with the columns of `mvfer.data.schema`, or a list of them, one after the
            other.
        augmentation: how much to vary; `None` gives every row as it is, with its first caption.
        seed: of caption choice and augmentation.
        ramp_epochs: occlusion rises from zero to full over this many epochs; what is easy is learnt first.
        num_frames: longer sequences are sampled to this many frames, uniformly in time.
        frames: "sequence", or "rank_pooled": a sequence becomes one dynamic image per view (`rank_pooling_mvfer`), as a
            scan; its brightness is not varied, as its grey means motion.
        captions: "stored", or "fresh": what the row's captions tell is said anew in every epoch, from its action units with their
            intensities, in any known wording of `languages`. A row whose captions tell anything else keeps them.
        languages: of fresh captions, some of "en", "ja".
        memory_budget_bytes: splits whose views fit are decoded once and kept; larger ones are decoded row by row.

    `dataset[row]` and `dataset[epoch, row]` give a dict: `views` uint8 `(V, H, W, 3)`, or `(T, V, H, W, 3)` if any row
    of the splits is a sequence (and not pooled); `view_mask (V,)`; `view_angles_deg (V, 2)`; `frame_times_s (T,)` for sequences;
    `captions`: the chosen one (none if the row has none); `known_captions`: all that are true of the row; `subject`,
    `source` (the number of its split), `at_rest` (whether it is known to show the face at rest) and `draw`, a random number.
    With an augmentation also `changes`, which `Collator` makes to the views.

    Raises:
        ValueError: if there are no rows, a column is missing, a picture cannot be read, the numbers of frames and views are
            not those of `frame_times_s` (one frame if absent) and `view_angles_deg`, or no row is a sequence to be pooled.
    """

    def __init__(
        self,
        splits,
        *,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        ramp_epochs: float = 0.0,
        num_frames: int = 8,
        frames: str = "sequence",
        captions: str = "stored",
        languages: Sequence[str] = ("en",),
        memory_budget_bytes: int = MEMORY_BUDGET_BYTES,
    ):
        splits = list(splits) if isinstance(splits, (list, tuple)) else [splits]
        if not splits or not all(len(split) for split in splits):
            raise ValueError(f"expected splits with rows, got {[len(split) for split in splits]} rows")
        if num_frames < 1:
            raise ValueError(f"expected num_frames >= 1, got {num_frames}")
        if frames not in FRAMES:
            raise ValueError(f"frames: expected one of {', '.join(FRAMES)}, got {frames!r}")
        if captions not in CAPTIONS or not languages:
            raise ValueError(f"expected captions stored or fresh, and languages, got {captions!r} and {languages!r}")
        for split in splits:
            missing = {"views", "view_angles_deg", "captions"} - set(split.column_names)
            if missing:
                raise ValueError(f"the split lacks the columns {sorted(missing)}; it has {split.column_names}")
        self.augmentation, self.seed, self.num_frames = augmentation, seed, num_frames
        self.ramp_epochs, self.fresh, self.languages = ramp_epochs, captions == "fresh", tuple(languages)
        self.splits = [split.with_format("arrow") for split in splits]
        self.rows = [(s, row) for s, split in enumerate(splits) for row in range(len(split))]
        told = [texts or [] for split in splits for texts in split["captions"]]
        self._texts: list[Any] = [[text for text in texts if text] for texts in told]
        units = [_units(units) for split in splits for units in _column(split, "action_units")]
        self._told = [units_told(*told) for told in zip(self._texts, units, strict=True)]
        self._subjects = [subject for split in splits for subject in _column(split, "subject")]
        self._at_rest = [at_rest for split in splits for at_rest in rows_at_rest(split)]
        self._angles = [_angles(angles) for split in splits for angles in split["view_angles_deg"]]
        self._times = [times for split in splits for times in _column(split, "frame_times_s")]
        lengths = [len(times) if times else 1 for times in self._times]
        self.rank_pooled = frames == "rank_pooled"
        self.has_sequences = any(length > 1 for length in lengths) and not self.rank_pooled
        if self.rank_pooled and max(lengths) == 1:
            raise ValueError('frames="rank_pooled" reads motion, but every row is a single scan; build with --kind 4d')
        self._views: list[np.ndarray] | None = None
        first = self._decode(0)
        self.num_views = first.shape[1]
        if first[:1].nbytes * sum(lengths) <= memory_budget_bytes:
            self._views = [self._decode(index) for index in range(len(self.rows))]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | tuple[int, int]) -> dict:
        epoch, row = index if isinstance(index, tuple) else (0, index)
        rng = np.random.default_rng((self.seed, epoch, row))
        views = self._decode(row) if self._views is None else self._views[row]  # (T, V, H, W, 3)
        angles, known, told, times = self._angles[row], self._texts[row], self._told[row], self._times[row]
        times = np.asarray(times or [0.0], dtype=np.float32)
        frames = np.arange(1)
        if len(times) > 1:
            frames = sample_frames(times, self.num_frames, rng=rng if self.augmentation else None)
        views = rank_pool(views[frames])[None] if self.rank_pooled else views[frames]
        mask, changes = np.ones(len(angles), dtype=bool), {}
        chosen = known[:1]
        if self.augmentation:
            mirrored = self.augmentation.mirror and bool(rng.random() < 0.5)
            if mirrored:
                order, angles = mirror_cameras(angles)
                views = views[:, order]
                known = [swap_sides(text) for text in known]
                told = None if told is None else mirrored_units(told)
            if known:
                if self.fresh and told is not None:
                    language = self.languages[rng.integers(len(self.languages))]
                    text = reword(told, random.Random(int(rng.integers(2**63))), language=language)
                else:
                    text = known[rng.integers(len(known))]
                chosen = [drop_phrases(text, rng, chance=self.augmentation.drop_phrases)]
            strength = self._strength(self.augmentation, epoch)
            strength = replace(strength, gain=0.0) if self.rank_pooled else strength
            drawn, mask = draw_changes(
                rng, strength, views=len(angles), size=(views.shape[2], views.shape[3]), mirrored=mirrored
            )
            changes = {"changes": drawn}
        known = known if told is None else list(dict.fromkeys([*known, told_whole(told)]))
        sample = {"view_mask": mask, "view_angles_deg": angles, "captions": chosen, "known_captions": known}
        sample |= {"subject": self._subjects[row], "source": self.rows[row][0], "at_rest": self._at_rest[row]}
        sample |= changes | {"draw": int(rng.integers(2**31))}
        if self.has_sequences:
            return sample | {"views": views, "frame_times_s": times[frames]}
        return sample | {"views": views[0]}

    def _strength(self, augmentation: Augmentation, epoch: int) -> Augmentation:
        if epoch >= self.ramp_epochs:
            return augmentation
        share = epoch / self.ramp_epochs
        return replace(augmentation, occlusion=augmentation.occlusion * share)

    def _decode(self, index: int) -> np.ndarray:
        """All frames and views of a row, `(T, V, H, W, 3)` uint8."""
        split, row = self.rows[index]
        try:
            frames = self.splits[split][row]["views"][0].as_py()
            views = np.stack([np.stack([decode_view(view) for view in frame]) for frame in frames])
        except (OSError, TypeError, ValueError) as error:
            where = _place(self.splits[split], row)
            raise ValueError(f"{where}: the views cannot be read ({error}); build it again") from error
        expected = len(self._times[index] or [0.0]), len(self._angles[index])
        if views.shape[:2] != expected:
            raise ValueError(
                f"{_place(self.splits[split], row)}: expected (frames, views) {expected} from frame_times_s and "
                f"view_angles_deg, got {views.shape[:2]}"
            )
        return views


class Collator:
    """Make a batch of samples.

    Args:
        tokenizer: any tokenizer with a padding token; `None` leaves all texts out.
        image_processor: `MVFERImageProcessor`; its normalisation and size are the model's.
        phrases: also give the captions' single phrases, for the sigmoid term.
        sides: also say of the other side what names a side, in captions and phrases.

    A sample is a dict: `views` uint8 `(V, H, W, 3)` or `(T, V, H, W, 3)`; `captions`, the texts to learn from; and,
    optional, `view_mask`, `view_angles_deg`, `frame_times_s`, `known_captions` (further texts that are true of it).

    Returns a dict of tensors: `pixel_values (B, V, C, H, W)` or `(B, T, V, C, H, W)`, `view_mask`, `view_angles_deg`,
    with sequences `frame_mask`, `frame_times_s`; `input_ids (K, L)`, `attention_mask` of the batch's unique captions
    and `text_targets (B, K)`, true where a caption names the units that one of the sample's own names, in whatever wording,
    and no degree that is not true of them; with `phrases`, `phrase_input_ids (P, L)`, `phrase_attention_mask` and
    `phrase_targets (B, P)`, true where all that the phrase claims is true of the sample; with `sides`, `phrase_opposites (P,)`:
    the phrase that says the same of the other side, -1 without one. Without any caption there is an empty text that is true of
    no sample, and the phrases' keys are absent.
    """

    def __init__(self, tokenizer, image_processor, *, phrases: bool = True, sides: bool = False):
        self.tokenizer, self.image_processor, self.phrases, self.sides = tokenizer, image_processor, phrases, sides

    def __call__(self, samples: list[dict]) -> dict[str, torch.Tensor]:
        return self.finish(self.gather(samples))

    def gather(self, samples: list[dict]) -> dict[str, torch.Tensor]:
        """The batch with `views (..., H, W, 3)` uint8 in place of `pixel_values`, and what is to happen to them."""
        if not samples:
            raise ValueError("expected at least one sample, got none")
        batch = pad_views(
            [sample["views"] for sample in samples],
            view_masks=[sample.get("view_mask") for sample in samples],
            view_angles_deg=[sample.get("view_angles_deg") for sample in samples],
            frame_times_s=[sample.get("frame_times_s") for sample in samples],
        )
        if "changes" in samples[0]:
            batch |= gather_changes([sample["changes"] for sample in samples])
        if self.tokenizer is None:
            return batch
        captions = [list(sample.get("captions") or []) for sample in samples]
        known = [own + list(sample.get("known_captions") or []) for own, sample in zip(captions, samples, strict=True)]
        named = [{units_of(meaning(text)) for text in texts} for texts in known]
        facts = [frozenset().union(*map(meaning, texts)) for texts in known]
        unique = self._unique(captions)
        batch |= self._tokens(unique)
        batch["text_targets"] = _covered(unique, facts) & _named(unique, named)
        phrases = [sum(map(split_phrases, own), []) for own in captions]
        if self.phrases and any(phrases):
            unique = self._unique(phrases)
            batch |= {f"phrase_{name}": tokens for name, tokens in self._tokens(unique).items()}
            batch["phrase_targets"] = _covered(unique, facts)
            if self.sides:
                place = {text: number for number, text in enumerate(unique)}
                others = [swap_sides(text) for text in unique]
                opposites = [-1 if other == text else place[other] for text, other in zip(unique, others, strict=True)]
                batch["phrase_opposites"] = torch.tensor(opposites)
        return batch

    def finish(self, batch: dict[str, torch.Tensor], device: torch.device | None = None) -> dict[str, torch.Tensor]:
        """A batch of `gather` on the device where it is needed, its views changed and normalised there."""
        batch = {name: value.to(device, non_blocking=True) for name, value in batch.items()}
        changes = {name: batch.pop(name) for name in list(batch) if name.startswith(PREFIX)}
        views = batch.pop("views")
        if changes:
            views = change_views(views, batch["view_mask"], changes, channels=self.image_processor.channels)
        return {"pixel_values": self._pixels(views)} | batch

    def _pixels(self, views: torch.Tensor) -> torch.Tensor:
        size_px = self.image_processor.size_px
        if views.shape[-3:-1] != (size_px, size_px):  # data rendered at another size than the model's
            flat = views.flatten(0, -4).permute(0, 3, 1, 2)
            flat = interpolate(flat.contiguous(), size=(size_px, size_px), mode="bilinear", antialias=True)
            views = flat.permute(0, 2, 3, 1).reshape(*views.shape[:-3], size_px, size_px, 3)
        return self.image_processor.normalize_views(views)

    def _unique(self, texts: list[list[str]]) -> list[str]:
        """The texts of all samples; with `sides`, also what is said of a side said of the other: hard negatives.

        They differ in a word and are false, so a face has to be told from its mirror image (Yuksekgonul et al. 2023, "When and
        Why Vision-Language Models Behave like Bags-of-Words", arXiv:2210.01936; differs: only sides are exchanged).
        """
        said = [text for own in texts for text in own]
        against = [swap_sides(text) for text in said] if self.sides else []
        return list(dict.fromkeys([*said, *against])) or [""]  # true of no sample

    def _tokens(self, texts: list[str]) -> dict[str, torch.Tensor]:
        tokens = self.tokenizer(texts, padding=True, truncation=True, return_tensors="pt")
        return {name: tokens[name] for name in ("input_ids", "attention_mask")}


def _covered(texts: list[str], facts: list[frozenset[str]]) -> torch.Tensor:
    """`(B, K)`: whether all that a text claims is among the facts of a sample."""
    claims = [meaning(text) for text in texts]
    place = {claim: number for number, claim in enumerate(frozenset().union(*claims))}
    claimed, true = _which(claims, place).float(), _which(facts, place).float()
    return true @ claimed.T == claimed.sum(1)


def _named(texts: list[str], named: list[set[frozenset[str]]]) -> torch.Tensor:
    """`(B, K)`: whether a text names the same units as one of a sample's own texts, given the units of each of these."""
    units = [units_of(meaning(text)) for text in texts]
    place = {own: number for number, own in enumerate(dict.fromkeys(units))}
    return _which(named, place)[:, [place[one] for one in units]]


def _which(sets: Sequence[Iterable], place: Mapping) -> torch.Tensor:
    """`(N, P)` bool: which of `P` elements, each with its place, are in each set; others are passed over."""
    found = np.zeros((len(sets), len(place)), dtype=bool)
    for row, own in enumerate(sets):
        found[row, [place[one] for one in own if one in place]] = True
    return torch.from_numpy(found)


def _column(split, name: str) -> list:
    return split[name] if name in split.column_names else [None] * len(split)


def _units(action_units) -> dict[str, float]:
    return {unit["name"]: unit["intensity"] for unit in action_units or ()}


def _angles(angles) -> np.ndarray:
    angles = np.asarray(angles, dtype=np.float32)
    if angles.ndim != 2 or angles.shape[1] != 2 or not np.isfinite(angles).all():
        raise ValueError(f"expected view_angles_deg (V, 2) of finite yaw and pitch, got shape {angles.shape}")
    return angles


def _place(split, row: int) -> str:
    """The file and the row in it, as far as the split knows them, for messages."""
    name = f"{printable(str(split[row]['id'][0].as_py()))}, " if "id" in split.column_names else ""
    where = f"{split.info.description}: " if split.info.description else ""
    return f"{where}{name}{split.split or 'split'} row {row}"
