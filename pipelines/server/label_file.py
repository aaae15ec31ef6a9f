"""Label maps and scribbles as clients send them: read, and checked against their image."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt
from scipy.ndimage import distance_transform_edt

from pipelines.core.errors import DataError
from pipelines.core.plausibility import slice_axis
from pipelines.core.records import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.volume import UNREADABLE, Volume, check_same_grid, rounded
from pipelines.datasets.loading import check_convention
from pipelines.interaction.clicks import UNMARKED, Mask
from pipelines.server.admission import claimed_shape
from pipelines.server.nrrd import read_nrrd
from pipelines.server.worker import PARSER

LABEL_SUFFIXES: Final = (".nii.gz", ".nii", ".nrrd")
"""Formats of label maps that are read; `.seg.nrrd` with overlapping segments is refused as 4-D."""

VALUE_OF_NAME: Final = {LABEL_NAMES[label]: label for label in FOREGROUND}


def read_sent_label(
    path: Path, image: Volume, segments: Sequence[Mapping[str, Any]] = ()
) -> npt.NDArray[np.uint8]:
    """Label map `(X, Y, Z)` uint8 on the image's grid, with values from `AcdcLabel`.

    Args:
        path: Existing file in one of `LABEL_SUFFIXES`.
        image: Volume `(X, Y, Z)` that it should be a label map of.
        segments: The client's list of segments: voxel value `n` belongs to the segment at place `n`,
            counted from 1, whose `name` says which structure it is. Empty if values are those of
            `AcdcLabel` already.

    Raises:
        DataError: If it is no label map, lies on another grid, or has a value or name that is unknown.

    References:
        Values by the order of segments: `onSaveLabel` of MONAI Label's module for 3D Slicer.
    """
    array = read_on_grid(path, image)
    if not segments:
        check_convention(replace(image, array=array, path=None))
    values = np.unique(array)
    meant = _meaning(segments)
    wrong = [int(value) for value in values if int(value) not in meant]
    if wrong:
        raise DataError(
            f"expected label values {sorted(meant)}, found {wrong[:5]}; name the segments "
            f"{', '.join(VALUE_OF_NAME)} and save again"
        )
    mask = np.zeros(array.shape, dtype=np.uint8)
    for value in values:
        mask[array == value] = meant[int(value)]
    return mask


def read_on_grid(path: Path, image: Volume) -> npt.NDArray[Any]:
    """Values `(X, Y, Z)`, whole numbers from 0, of a label map on the image's grid.

    Args:
        path: Existing file in one of `LABEL_SUFFIXES`.
        image: Volume `(X, Y, Z)` that it should be a label map of.

    Raises:
        DataError: If it is no label map or lies on another grid.
    """
    name = path.name.lower()
    if not name.endswith(LABEL_SUFFIXES):
        raise DataError(f"expected a label map as {', '.join(LABEL_SUFFIXES)}, found {path.suffix or 'none'}")
    shape = claimed_shape(path)
    if shape != image.array.shape:
        raise DataError(
            f"expected the label on the image's grid {image.array.shape}, found {shape}; "
            "save all segments as one label map with the image as its reference"
        )
    label = PARSER.call(_read, path)
    check_same_grid(image, label)
    label = replace(label, array=rounded(label.array))
    values = np.unique(label.array)
    if not np.all(np.equal(values, np.round(values))) or values.min() < 0:
        raise DataError(f"expected whole label values from 0, found {values[:5].tolist()}")
    return label.array


def _meaning(segments: Sequence[Mapping[str, Any]]) -> dict[int, AcdcLabel]:
    """What each voxel value stands for."""
    if not segments:
        return {int(label): label for label in AcdcLabel}
    names = [str(segment.get("name", "")).strip().lower() for segment in segments]
    names = [name for name in names if name != LABEL_NAMES[AcdcLabel.BACKGROUND]]
    _check_names(names, VALUE_OF_NAME)
    meant = {number: VALUE_OF_NAME[name] for number, name in enumerate(names, start=1)}
    return {0: AcdcLabel.BACKGROUND} | meant


def _read(path: Path) -> Volume:
    if path.name.lower().endswith(".nrrd"):
        volume = read_nrrd(path)
        array, affine = volume.array, volume.affine
    else:
        try:
            image = nib.load(path)
            array, affine = np.asarray(image.dataobj), np.asarray(image.affine, dtype=np.float64)
        except UNREADABLE as error:
            raise DataError("expected a label map, found a file that is no image or is cut off") from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.dtype.kind not in "uif" or array.size == 0:
        raise DataError(f"expected one label map of 3 dimensions, found {array.shape} of {array.dtype}")
    if not np.isfinite(affine).all() or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        raise DataError("expected finite values, found NaN or infinity in the label map")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(array, affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))


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
    _check_names(names, known, is_unique=len(set(values)) == len(values))
    return dict(zip(names, values, strict=True))


def _check_names(names: Sequence[str], known: Collection[str], *, is_unique: bool = True) -> None:
    if set(names) - set(known) or len(set(names)) < len(names) or not is_unique:
        raise DataError(
            f"expected each segment once and among {', '.join(known)}, found {', '.join(names)}; "
            "rename or remove the others"
        )
