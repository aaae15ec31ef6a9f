"""Images that are the same, or nearly, found by their thumbnails."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

SIDE_PX: Final = 32
"""Side of the thumbnails that are compared."""

NEARLY_SAME: Final = 0.985
"""Correlation of two thumbnails from which images are near duplicates.

Among the 5,278 radiographs of the public release that were at hand, pairs of
different images reach 0.976, and the same image saved again 1.000.
"""


def pixel_hash(pixels: npt.NDArray[np.float32]) -> str:
    """First 16 hex digits of the SHA-256 of an image's values, `(H, W)` in 0 to 1."""
    rounded = np.round(pixels * 65535).astype(np.uint16)
    return hashlib.sha256(str(pixels.shape).encode() + rounded.tobytes()).hexdigest()[:16]


def voxel_hash(voxels: npt.NDArray[Any]) -> str:
    """First 16 hex digits of the SHA-256 of a volume's values as read; files may be packed in another way."""
    values = np.ascontiguousarray(voxels, dtype=np.float32)
    return hashlib.sha256(str(voxels.shape).encode() + values.tobytes()).hexdigest()[:16]


def thumbnail(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """A small copy of an image `(H, W)`, flat, with mean 0 and length 1; all 0 if it is constant."""
    small = np.asarray(Image.fromarray(pixels).resize((SIDE_PX, SIDE_PX), Image.Resampling.BOX)).ravel()
    centered = small - small.mean()
    flat: npt.NDArray[np.float32] = (centered / max(float(np.linalg.norm(centered)), 1e-6)).astype(np.float32)
    return flat


def near_duplicates(
    thumbnails: Sequence[npt.NDArray[np.float32]], *, least: float = NEARLY_SAME
) -> list[tuple[int, int]]:
    """Pairs `(i, j)`, `i < j`, of thumbnails whose correlation is at least `least`."""
    stack = np.asarray(thumbnails)
    pairs: list[tuple[int, int]] = []
    for first in range(0, len(stack), 1024):
        rows = stack[first : first + 1024] @ stack.T
        for i, j in zip(*np.nonzero(rows >= least), strict=True):
            if first + i < j:
                pairs.append((int(first + i), int(j)))
    return pairs


def joined(names: Sequence[str], pairs: Sequence[tuple[int, int]]) -> dict[str, str]:
    """The least name among those that pairs connect, for each name.

    Args:
        names: Name of each image's patient; names may repeat.
        pairs: Indices of images that belong together.
    """
    root = {name: name for name in names}

    def find(name: str) -> str:
        while root[name] != name:
            name = root[name]
        return name

    for i, j in pairs:
        first, second = sorted((find(names[i]), find(names[j])))
        root[second] = first
    return {name: find(name) for name in root}
