"""The same scan in two splits, under whatever name. In: rendered views. Out: pairs of rows that show the same thing.

Views are framed, so a copy in another unit, format or place looks the same again. What is compared are thumbnails of all views,
by their root mean square difference in grey levels. Measured on clean renderings of ICT-FaceKit and Anny: copies that
were scaled and moved differ by 0.02, copies with rounded or noisy vertices by 3 to 5, the most similar scans of two
people by 15 or more.
"""

from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image

THUMBNAIL_PX = 32
SAME_BELOW = 6.0  # grey levels, root mean square
CHUNK = 512


def thumbnail(views: np.ndarray) -> np.ndarray:
    """`(T, V, H, W, 3)` uint8 -> `(V * 32 * 32 * 3,)` uint8, of the middle frame."""
    size = (THUMBNAIL_PX, THUMBNAIL_PX)
    small = [Image.fromarray(view).resize(size, Image.Resampling.BOX) for view in views[len(views) // 2]]
    return np.stack([np.asarray(view) for view in small]).reshape(-1)


def same_scans(first: dict[str, np.ndarray], second: dict[str, np.ndarray]) -> Iterator[tuple[str, str, float]]:
    """Pairs (id, id, difference) of two splits below `SAME_BELOW`; thumbnails of different numbers of views are not compared."""
    for length in {len(view) for view in first.values()} & {len(view) for view in second.values()}:
        names = [[name for name, view in split.items() if len(view) == length] for split in (first, second)]
        others = torch.from_numpy(np.stack([second[name] for name in names[1]])).float()
        for start in range(0, len(names[0]), CHUNK):
            part = names[0][start : start + CHUNK]
            views = torch.from_numpy(np.stack([first[name] for name in part])).float()
            distances = torch.cdist(views, others, compute_mode="use_mm_for_euclid_dist") / length**0.5
            for i, j in (distances < SAME_BELOW).nonzero().tolist():
                yield part[i], names[1][j], float(distances[i, j])
