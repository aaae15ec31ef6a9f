"""Clicks, and a simulated user who clicks where a mask is most wrong."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt, label

from pipelines.core.labels import AcdcLabel

Mask = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Click:
    """A voxel that a user gave its right label.

    Attributes:
        i: Index along the first axis of the volume as stored, 0-based.
        j: Along the second.
        k: Along the third.
        label: What is there.
    """

    i: int
    j: int
    k: int
    label: AcdcLabel

    @property
    def index(self) -> tuple[int, int, int]:
        """Index of the voxel."""
        return self.i, self.j, self.k


@dataclass(frozen=True, slots=True)
class SliceError:
    """A connected region of a slice that has the wrong label.

    Attributes:
        size: Number of pixels.
        center: Row and column of its innermost pixel.
        label: What it should be.
        region: `(H, W)` boolean.
    """

    size: int
    center: tuple[int, int]
    label: AcdcLabel
    region: npt.NDArray[np.bool_]


def largest_error(present: Mask, truth: Mask) -> Click | None:
    """Click in the middle of the largest wrong region of any slice, with the label it should have.

    Args:
        present: `(X, Y, Z)` label map with slices last.
        truth: `(X, Y, Z)`, what it should be.

    Returns:
        The click, or None if there is no error.
    """
    best, place = None, 0
    wrong_voxels = (present != truth).sum(axis=(0, 1))
    # The largest region of a slice is never larger than all that is wrong there.
    for k in np.argsort(-wrong_voxels, kind="stable"):
        if best is not None and wrong_voxels[k] <= best.size:
            break
        found = largest_slice_error(present[:, :, k], truth[:, :, k])
        if found is not None and (best is None or found.size > best.size):
            best, place = found, int(k)
    return None if best is None else Click(*best.center, place, best.label)


def largest_slice_error(present: Mask, truth: Mask) -> SliceError | None:
    """Largest connected region of one label that a slice `(H, W)` lacks, None if there is none.

    Of regions of one size, the one whose label comes first.
    """
    wrong = present != truth
    if not wrong.any():
        return None
    inside = tuple(slice(int(axis.min()), int(axis.max()) + 1) for axis in np.nonzero(wrong))
    size, kind, region = 0, AcdcLabel.BACKGROUND, wrong[inside]
    for value in np.unique(truth[wrong]):
        regions, count = label(wrong[inside] & (truth[inside] == value))
        sizes = np.bincount(regions.ravel(), minlength=count + 1)[1:]
        largest = int(sizes.argmax())
        if sizes[largest] > size:
            size, kind, region = int(sizes[largest]), AcdcLabel(int(value)), regions == largest + 1
    depth = distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    whole = np.zeros(wrong.shape, dtype=bool)
    whole[inside] = region
    return SliceError(size, (int(row) + inside[0].start, int(column) + inside[1].start), kind, whole)
