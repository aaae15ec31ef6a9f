"""Reading and writing NIfTI volumes, with every check that bad input has to fail."""

import logging
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.labels import AcdcLabel

logger = logging.getLogger(__name__)

AFFINE_TOLERANCE_MM = 0.01
"""Largest difference of two affines' entries that still counts as one grid, mm."""

THICK_SLICE_RATIO = 1.5
"""An axis is the slice axis if its spacing is at least this many times the others'."""

UNREADABLE = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    nib.wrapstruct.WrapStructError,
    EOFError,
    OSError,
    ValueError,
    zlib.error,
)
"""What nibabel raises for files that are truncated, damaged or of another format."""

WRAP_LIMIT = 1 << 14
"""An int16 image that goes beyond both this and its negative is taken for wrapped uint16: magnitudes of
MRI are not negative, and real offsets do not fill three quarters of the range."""

Undo = Callable[[npt.NDArray[Any]], npt.NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Volume:
    """An image or label map with its geometry.

    Attributes:
        array: `(X, Y, Z)` or `(X, Y, Z, T)`; float32 for images, uint8 for labels.
        affine: `(4, 4)` float64, voxel index to RAS+ millimetres.
        spacing_mm: `(dx, dy, dz)` in mm, in the axis order of `array`.
        path: File it was read from, or None.
        frame_s: Time between frames in seconds, or None where the file does not tell.
        is_unwrapped: The file stores unsigned values as signed ones, and reading undid it.
    """

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    path: Path | None = None
    frame_s: float | None = None
    is_unwrapped: bool = False

    def frame(self, index: int) -> "Volume":
        """Volume `(X, Y, Z)` of one frame of a cine, `index` 0-based."""
        return replace(self, array=self.array[..., index])


def read_volume(path: Path) -> Volume:
    """Image `(X, Y, Z)` or `(X, Y, Z, T)`, float32, from a NIfTI file.

    Args:
        path: `.nii` or `.nii.gz` file.

    Raises:
        DataError: If the file is missing, empty or truncated, is not a 3-D or 4-D
            grey image, holds NaN or infinity, is constant, or has no valid spacing.
    """
    image, array = _read(path)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"expected finite intensities, found {count} NaN or infinite voxels in {path}")
    if array.min() == array.max():
        raise DataError(f"expected an image with contrast, found the constant {array.flat[0]:g} in {path}")
    is_wrapped = bool(array.dtype == np.int16 and array.min() < -WRAP_LIMIT and array.max() > WRAP_LIMIT)
    if is_wrapped:
        logger.warning("%s stores unsigned intensities as int16: values above 32767 were restored", path)
        array = array.view(np.uint16)
    return replace(_volume(path, image, array.astype(np.float32, copy=False)), is_unwrapped=is_wrapped)


def read_grid(path: Path) -> tuple[tuple[int, ...], tuple[float, float, float]]:
    """Shape and `(dx, dy, dz)` spacing in mm from the header alone; spacing 0 where it is not told.

    Raises:
        DataError: If there is no readable header.
    """
    try:
        header = nib.load(path).header
    except UNREADABLE as error:
        raise DataError(f"expected a readable NIfTI file, found {path.name}: {error}") from error
    spacing = [float(value) for value in (*header.get_zooms()[:3], 0.0, 0.0, 0.0)]
    return tuple(header.get_data_shape()), (spacing[0], spacing[1], spacing[2])


def read_values(path: Path) -> Volume:
    """Array `(X, Y, Z)` or `(X, Y, Z, T)` as stored, for label files of other conventions.

    Args:
        path: `.nii` or `.nii.gz` file.

    Raises:
        DataError: If the file is missing, empty or truncated, is neither 3-D nor 4-D, or
            has no valid spacing.
    """
    return _volume(path, *_read(path))


def read_label(path: Path) -> Volume:
    """Label map `(X, Y, Z)` or `(X, Y, Z, T)`, uint8 with values from `AcdcLabel`.

    Args:
        path: `.nii` or `.nii.gz` file.

    Raises:
        DataError: As for `read_volume`, and if a value is not one of 0, 1, 2, 3.
    """
    image, array = _read(path)
    values = np.unique(array)
    wrong = [float(value) for value in values if value not in list(AcdcLabel)]
    if wrong:
        raise DataError(
            f"expected label values 0 to 3 (background, RV, MYO, LV), found {wrong[:5]} in {path}; "
            "map the dataset's values first"
        )
    return _volume(path, image, array.astype(np.uint8))


def write_label(path: Path, mask: npt.NDArray[np.uint8], affine: npt.NDArray[np.float64]) -> None:
    """Write a label map `(X, Y, Z)` or `(X, Y, Z, T)` as uint8 NIfTI, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    image = nib.Nifti1Image(mask.astype(np.uint8), affine)
    image.header.set_xyzt_units("mm", "sec")
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def write_image(path: Path, volume: Volume) -> None:
    """Write an image `(X, Y, Z)` or `(X, Y, Z, T)` as float32 NIfTI, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    image = nib.Nifti1Image(volume.array.astype(np.float32), volume.affine)
    image.header.set_xyzt_units("mm", "sec")
    if volume.frame_s and volume.array.ndim == 4:
        image.header.set_zooms((*image.header.get_zooms()[:3], volume.frame_s))
    with atomic_path(path) as temporary:
        nib.save(image, temporary)


def check_same_grid(image: Volume, label: Volume) -> None:
    """Make sure that a label lies on its image's voxels.

    Raises:
        DataError: If shapes or affines differ.
    """
    if image.array.shape != label.array.shape:
        raise DataError(
            f"expected the label on the image's grid {image.array.shape}, "
            f"found {label.array.shape} in {label.path}; resample it to the image"
        )
    difference = float(np.abs(image.affine - label.affine).max())
    if difference > AFFINE_TOLERANCE_MM:
        raise DataError(
            f"expected the image's affine, found one that differs by {difference:.3g} in {label.path}; "
            "copy the image's header or resample the label"
        )


def slice_axis(spacing_mm: tuple[float, float, float]) -> int:
    """Index of the axis across the slices: the one with thick voxels, else the last."""
    order = np.argsort(spacing_mm)
    thickest, second = spacing_mm[order[2]], spacing_mm[order[1]]
    return int(order[2]) if thickest >= THICK_SLICE_RATIO * second else 2


def slices_last(volume: Volume) -> tuple[Volume, Undo]:
    """The volume with its slices on the third axis, and the way back.

    Args:
        volume: `(X, Y, Z)` or `(X, Y, Z, T)` in any order of the spatial axes.

    Returns:
        The volume with permuted axes, spacing and affine (the same points in
        space), and a function that takes an array of the permuted shape back to
        the file's own order; leading extra axes are not allowed.
    """
    axis = slice_axis(volume.spacing_mm)
    order = [index for index in range(3) if index != axis] + [axis]
    affine = volume.affine.copy()
    affine[:, :3] = volume.affine[:, order]
    spacing = volume.spacing_mm
    moved = replace(
        volume,
        array=np.moveaxis(volume.array, axis, 2),
        affine=affine,
        spacing_mm=(spacing[order[0]], spacing[order[1]], spacing[order[2]]),
    )
    return moved, lambda array: np.moveaxis(array, 2, axis)


def _read(path: Path) -> tuple[nib.Nifti1Image, npt.NDArray[Any]]:
    if not path.is_file():
        raise DataError(f"expected a NIfTI file, found nothing at {path}")
    if path.stat().st_size == 0:
        raise DataError(f"expected a NIfTI file, found zero bytes in {path}; copy it again")
    try:
        image = nib.load(path)
        if image.get_data_dtype().fields:
            raise DataError(f"expected a grey image, found RGB voxels in {path}")
        array = np.asarray(image.dataobj)
    except UNREADABLE as error:
        raise DataError(
            f"expected a readable NIfTI file, found {path}: {error}; it may be truncated, copy it again"
        ) from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4):
        raise DataError(f"expected a 3-D volume or a 4-D cine, found {array.ndim}-D {array.shape} in {path}")
    if 0 in array.shape:
        raise DataError(f"expected a volume with voxels, found shape {array.shape} in {path}")
    return image, array


def _volume(path: Path, image: nib.Nifti1Image, array: npt.NDArray[Any]) -> Volume:
    affine = np.asarray(image.affine, dtype=np.float64)
    zooms = image.header.get_zooms()
    stored = _stored_spacing(image)
    if (
        not np.isfinite(affine).all()
        or not np.all(np.linalg.norm(affine[:3, :3], axis=0) > 0)
        or (stored <= 0).any()
    ):
        found = tuple(round(float(value), 4) for value in stored)
        raise DataError(f"expected positive voxel spacing in mm, found {found} in {path}")
    if abs(np.linalg.det(affine[:3, :3])) < 1e-6:
        raise DataError(f"expected an affine that can be inverted, found a flat one in {path}")
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    frame_s = float(zooms[3]) if array.ndim == 4 and len(zooms) > 3 and zooms[3] > 0 else None
    return Volume(array, affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])), path, frame_s)


def _stored_spacing(image: nib.Nifti1Image) -> npt.NDArray[np.float32]:
    """Spacing as the file has it: nibabel turns 0 into 1 and drops signs when it loads a header."""
    holder = image.file_map.get("header") or image.file_map["image"]
    with holder.get_prepare_fileobj("rb") as stream:
        header = image.header_class.from_fileobj(stream, check=False)
    return np.asarray(header["pixdim"][1:4])
