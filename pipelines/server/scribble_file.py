"""Scribbles as 3D Slicer sends them: two more segments in a label map of all segments."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from pipelines.core.errors import DataError
from pipelines.core.labels import LABEL_NAMES, AcdcLabel
from pipelines.core.stack_order import slice_axis
from pipelines.core.volume import Volume
from pipelines.interaction.clicks import UNMARKED, Mask
from pipelines.server.label_file import VALUE_OF_NAME, read_on_grid

FOREGROUND_SCRIBBLES: Final = "foreground_scribbles"
BACKGROUND_SCRIBBLES: Final = "background_scribbles"

DEFAULT_SEGMENTS: Final = (
    *((name, int(label)) for name, label in VALUE_OF_NAME.items()),
    (BACKGROUND_SCRIBBLES, len(VALUE_OF_NAME) + 1),
    (FOREGROUND_SCRIBBLES, len(VALUE_OF_NAME) + 2),
)
"""Names and voxel values for a client that tells none: MONAI Label counts the scribbles after the labels."""


@dataclass(frozen=True, slots=True)
class Scribbles:
    """A label map with strokes on it.

    Attributes:
        mask: `(X, Y, Z)` uint8 label map; what strokes hide has the label of the nearest pixel around.
        strokes: `(X, Y, Z)` uint8, values from `AcdcLabel` on strokes and `UNMARKED` elsewhere.
    """

    mask: Mask
    strokes: Mask


def read_sent_scribbles(
    path: Path, image: Volume, label: AcdcLabel, segments: Sequence[tuple[str, int]] = ()
) -> Scribbles:
    """Strokes that say where a structure is and where it is not.

    A background stroke tells only that its voxels are not `label`. They are taken for what lies nearest
    in the slice and is not `label`: a stroke along the myocardium keeps the LV out and the myocardium in.

    Args:
        path: Existing file in one of `LABEL_SUFFIXES`.
        image: Volume `(X, Y, Z)` with the grid.
        label: Structure that the strokes are about.
        segments: Name and voxel value of each segment of the file; by default `DEFAULT_SEGMENTS`.

    Raises:
        DataError: If the file is no label map on the image's grid, a segment is unknown or there twice,
            a value belongs to no segment, or there is no stroke.

    References:
        Segments and values: `onUpdateScribbles` of MONAI Label's module for 3D Slicer.
    """
    value_of = _values(segments or DEFAULT_SEGMENTS)
    array = read_on_grid(path, image)
    wrong = sorted({int(value) for value in np.unique(array)} - {0, *value_of.values()})
    if wrong:
        raise DataError(f"expected label values of the segments that were named, found {wrong[:5]}")
    there, not_there = (
        array == value_of[name] if name in value_of else np.zeros(array.shape, dtype=bool)
        for name in (FOREGROUND_SCRIBBLES, BACKGROUND_SCRIBBLES)
    )
    hidden = there | not_there
    if not hidden.any():
        raise DataError("expected strokes of the foreground or the background, found none; paint some first")
    mask = np.zeros(array.shape, dtype=np.uint8)
    for name, value in VALUE_OF_NAME.items():
        if name in value_of:
            mask[array == value_of[name]] = value
    spacing_mm = image.spacing_mm
    strokes = np.full(array.shape, UNMARKED, dtype=np.uint8)
    strokes[not_there] = labels_beside(mask, not_there, spacing_mm, label=label, hidden=hidden)
    strokes[there] = label
    mask[hidden] = labels_beside(mask, hidden, spacing_mm, hidden=hidden)
    return Scribbles(mask, strokes)


def labels_beside(
    mask: Mask,
    wanted: npt.NDArray[np.bool_],
    spacing_mm: tuple[float, float, float],
    *,
    label: AcdcLabel | None = None,
    hidden: npt.NDArray[np.bool_] | None = None,
) -> Mask:
    """`(n,)`, for each wanted voxel the label of the nearest one in its slice that is not `label`.

    Args:
        mask: `(X, Y, Z)` label map.
        wanted: `(X, Y, Z)`, `n` voxels.
        spacing_mm: Voxel size; tells which axis runs across the slices.
        label: Label that does not count; by default all count.
        hidden: `(X, Y, Z)`, voxels that do not count since their label is not known.

    Returns:
        Labels in the order of `mask[wanted]`; background in slices where nothing counts.
    """
    axis = slice_axis(spacing_mm)
    plane_mm = [length for index, length in enumerate(spacing_mm) if index != axis]
    counts = np.ones(mask.shape, dtype=bool) if label is None else mask != label
    if hidden is not None:
        counts &= ~hidden
    found = np.zeros_like(mask)
    labels, known, places, result = (np.moveaxis(array, axis, 0) for array in (mask, counts, wanted, found))
    for z in np.flatnonzero(places.any(axis=(1, 2)) & known.any(axis=(1, 2))):
        nearest = distance_transform_edt(~known[z], plane_mm, return_distances=False, return_indices=True)
        result[z] = labels[z][tuple(nearest)]
    return found[wanted]


def _values(segments: Sequence[tuple[str, int]]) -> dict[str, int]:
    """Voxel value of each segment by its name."""
    names = [name.strip().lower() for name, _ in segments]
    known = [*VALUE_OF_NAME, LABEL_NAMES[AcdcLabel.BACKGROUND], FOREGROUND_SCRIBBLES, BACKGROUND_SCRIBBLES]
    values = [value for _, value in segments]
    if set(names) - set(known) or len(set(names)) < len(names) or len(set(values)) < len(values):
        raise DataError(
            f"expected each segment once and among {', '.join(known)}, found {', '.join(names)}; "
            "rename or remove the others"
        )
    return dict(zip(names, values, strict=True))
