"""Has this very scan been seen, under whatever name? In: thumbnails of views. Out: salted hashes that a model folder may keep.

A view becomes 8 x 8 cells, their mean colours a few steps each, thrice with the steps shifted, and that a salted hash. The same
scan, drawn again, mostly falls into the same steps in one of its views; another scan, be it of the same person, does not. So a
hash tells whoever holds a scan whether it was trained on, and nothing else: it is no template, faces that are alike have hashes
that are not, and nobody is found by another picture of theirs. docs/privacy.md has what was measured.
"""

import hashlib
import secrets
from collections.abc import Iterable

import numpy as np

from mvfer.data.duplicates import THUMBNAIL_PX

SEEN_FILE = "subjects_seen.json"  # in a model's folder: hashes of whom it was trained and chosen on
CELLS = 8  # along each axis of a view
STEP = 48.0  # grey levels
PHASES = 3  # shifts of the steps
PLAIN = 4.0  # grey levels: standard deviation of a view that shows next to nothing
FEWEST = 1  # hashes that a scan must share with any of the others, of `PHASES` per view


def new_salt() -> str:
    """Thirty-two hexadecimal digits, so that hashes of two models cannot be compared."""
    return secrets.token_hex(16)


def scan_digests(thumbnail: np.ndarray, salt: str) -> set[str]:
    """`(V * 32 * 32 * 3,)` uint8, as `duplicates.thumbnail` gives it -> up to `V * PHASES` hashes of twelve digits."""
    block = THUMBNAIL_PX // CELLS
    cells = thumbnail.reshape(-1, CELLS, block, CELLS, block, 3).mean((2, 4), dtype=np.float64)  # (V, 4, 4, 3)
    found = set()
    for view in cells[cells.std((1, 2, 3)) > PLAIN]:
        for phase in range(PHASES):
            steps = np.floor(view / STEP + phase / PHASES).astype(np.uint8)
            found.add(hashlib.sha256(f"{salt}|{phase}|".encode() + steps.tobytes()).hexdigest()[:12])
    return found


def all_digests(thumbnails: Iterable[np.ndarray], salt: str) -> list[str]:
    """The hashes of many scans, sorted, so that the list tells nothing of their order."""
    return sorted({digest for one in thumbnails for digest in scan_digests(one, salt)})


def is_seen(thumbnail: np.ndarray, salt: str, digests: set[str]) -> bool:
    """Whether a scan is one of those whose hashes these are."""
    return len(scan_digests(thumbnail, salt) & digests) >= FEWEST
