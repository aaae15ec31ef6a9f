"""Label maps as clients send them: read, checked against their image, in the values of `AcdcLabel`."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.volume import UNREADABLE, Volume, check_same_grid, rounded
from pipelines.datasets.label_convention import check_convention
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
    unknown = [name for name in names if name not in VALUE_OF_NAME]
    if unknown or len(set(names)) < len(names):
        raise DataError(
            f"expected each segment once and among {', '.join(VALUE_OF_NAME)}, found {', '.join(names)}; "
            "rename or remove the others"
        )
    meant = {number: VALUE_OF_NAME[name] for number, name in enumerate(names, start=1)}
    return {0: AcdcLabel.BACKGROUND} | meant


def _read(path: Path) -> Volume:
    if path.name.lower().endswith(".nrrd"):
        volume = read_nrrd(path)
        return _volume(volume.array, volume.affine)
    try:
        image = nib.load(path)
        array = np.asarray(image.dataobj)
    except UNREADABLE as error:
        raise DataError("expected a label map, found a file that is no image or is cut off") from error
    return _volume(array, np.asarray(image.affine, dtype=np.float64))


def _volume(array: npt.NDArray[Any], affine: npt.NDArray[np.float64]) -> Volume:
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3 or array.dtype.kind not in "uif" or array.size == 0:
        raise DataError(f"expected one label map of 3 dimensions, found {array.shape} of {array.dtype}")
    if not np.isfinite(affine).all() or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        raise DataError("expected finite values, found NaN or infinity in the label map")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(array, affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))
