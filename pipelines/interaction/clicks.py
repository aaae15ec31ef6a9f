"""Clicks and scribbles: a simulated user who clicks where a mask is most wrong, and strokes that divide."""

from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import binary_fill_holes, distance_transform_edt, label
from skimage.segmentation import random_walker

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume, slices_last

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


UNMARKED: Final = 255
"""Value of voxels without a stroke."""

REACH_MM: Final = 12.0
"""Distance from the nearest stroke within which a slice is divided anew, mm in plane."""

EDGE_WEIGHT: Final = 10.0
"""How much harder a random walk gets across an edge; contrast is in standard deviations of the region."""

CLIP_PERCENTILES: Final = (0.5, 99.5)
"""Of the region's intensities: a few bright pixels must not set the scale."""


def refine_by_scribbles(volume: Volume, mask: Mask, scribbles: Mask) -> Mask:
    """Label map after strokes.

    In each slice with strokes, pixels near one go to the structure whose strokes a random walk from
    there reaches first; walks seldom cross edges of the image. Pixels that are beyond `REACH_MM` and
    not enclosed by strokes keep their label and take part as strokes. Intensities are scaled within
    the region, since MRI has no fixed units.

    Args:
        volume: `(X, Y, Z)` image; the slice axis may be any.
        mask: `(X, Y, Z)` label map with values from `AcdcLabel`.
        scribbles: `(X, Y, Z)`, values from `AcdcLabel` on strokes and `UNMARKED` elsewhere.

    Returns:
        `(X, Y, Z)` uint8, a new array; slices without strokes are as before.

    Raises:
        DataError: If mask or scribbles are not on the volume's grid, or scribbles have another value.

    References:
        Random walks: Grady, IEEE TPAMI 28(11), 2006, doi:10.1109/TPAMI.2006.233.
    """
    for name, array in (("mask", mask), ("scribbles", scribbles)):
        if array.shape != volume.array.shape:
            raise DataError(f"expected {name} on the volume's grid {volume.array.shape}, found {array.shape}")
    wrong = sorted(set(np.unique(scribbles).tolist()) - {*map(int, AcdcLabel), UNMARKED})
    if wrong:
        raise DataError(f"expected strokes of 0 to 3 and {UNMARKED} elsewhere, found {wrong[:5]}")
    stack, undo = slices_last(volume)
    present, strokes = (slices_last(replace(volume, array=array))[0].array for array in (mask, scribbles))
    refined = present.astype(np.uint8)
    for z in np.flatnonzero((strokes != UNMARKED).any(axis=(0, 1))):
        refined[:, :, z] = _refined(
            stack.array[:, :, z], present[:, :, z], strokes[:, :, z], stack.spacing_mm[:2]
        )
    return np.ascontiguousarray(undo(refined))


def rim_scribbles(truth: Mask, spacing_mm: tuple[float, float, float], *, inset_mm: float = 3.0) -> Mask:
    """Strokes of a user who goes along the inside of each border, in every slice with a structure.

    A structure too thin for that gets a stroke along its middle, and the background one around the heart.

    Args:
        truth: `(X, Y, Z)` label map with slices last.
        spacing_mm: `(dx, dy, dz)` in mm.
        inset_mm: Distance of the strokes from the border.

    Returns:
        `(X, Y, Z)` uint8, values from `AcdcLabel` on strokes and `UNMARKED` elsewhere.
    """
    strokes = np.full(truth.shape, UNMARKED, dtype=np.uint8)
    width_mm = max(spacing_mm[:2])
    for z in np.flatnonzero(truth.any(axis=(0, 1))):
        for structure in AcdcLabel:
            region = truth[:, :, z] == structure
            if region.any():
                depth = distance_transform_edt(np.pad(region, 1, mode="edge"), spacing_mm[:2])[1:-1, 1:-1]
                inset = min(inset_mm, float(depth.max()) - width_mm / 2)
                strokes[:, :, z][(depth >= inset) & (depth < inset + width_mm)] = structure
    return strokes


def _refined(
    image: npt.NDArray[np.float32], present: Mask, strokes: Mask, spacing_mm: tuple[float, ...]
) -> Mask:
    """`(X, Y)` labels of one slice with strokes."""
    marked = strokes != UNMARKED
    near = distance_transform_edt(~marked, spacing_mm) <= REACH_MM
    near = binary_fill_holes(near)  # what strokes enclose is theirs to divide, however wide
    rows, columns = np.nonzero(near)
    box = (
        slice(max(0, int(rows.min()) - 1), int(rows.max()) + 2),
        slice(max(0, int(columns.min()) - 1), int(columns.max()) + 2),
    )
    refined = present.astype(np.uint8)
    seeds = np.where(marked, strokes, present)[box]
    known = (marked | ~near)[box]
    kinds = np.unique(seeds[known])
    # The walk starts from 1 upwards; 0 is what it has to label.
    start = np.where(known, 1 + np.searchsorted(kinds, seeds), 0)
    if len(kinds) == 1 or known.all():
        refined[box] = np.where(known, seeds, kinds[0])
        return refined
    region = image[box].astype(np.float64)
    region = region.clip(*np.percentile(region, CLIP_PERCENTILES))
    found = random_walker(
        region / max(float(region.std()), 1e-6), start, beta=EDGE_WEIGHT, mode="bf", spacing=spacing_mm
    )
    # Pixels that no walk can leave are enclosed by strokes of one kind or another: they keep their label.
    refined[box] = np.where(found > 0, kinds[np.maximum(found, 1) - 1], seeds)
    return refined
