"""Reading and writing NIfTI volumes, with every check that bad input has to fail."""

import logging
import math
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.labels import AcdcLabel
from pipelines.core.nifti_geometry import Geometry, geometry
from pipelines.core.stack_order import stack_order

logger = logging.getLogger(__name__)

AFFINE_TOLERANCE_MM = 0.01
"""Largest difference of two affines' entries that still counts as one grid, mm."""

UNREADABLE = (
    nib.filebasedimages.ImageFileError,
    nib.spatialimages.HeaderDataError,
    ArithmeticError,
    AttributeError,
    nib.wrapstruct.WrapStructError,
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What nibabel raises for files that are truncated, damaged or of another format."""

MAX_VOXELS = 300_000_000
"""Voxels of the largest image that is read, 1.2 GB as float32; 512 x 512 x 20 x 50 are 262 million."""

WHOLE_TOLERANCE = 1e-3
"""Farthest a label may be from a whole number by rounding: slopes and float32 are off by much less."""

MAX_LABEL_VALUES = 16
"""Largest number of values, and largest value, of an image that is taken for a label map."""

MIN_VOXELS = 1000
"""Voxels of the smallest array whose values tell that it is a label map."""

LARGE_LABELS = frozenset((0, 200, 205, 420, 421, 500, 550, 600, 820, 850))
"""Values of the label maps of MS-CMRSeg and MM-WHS, which are larger."""

LABEL_NAME = re.compile(
    r"(^|[_.-])(gt|seg|segmentation|labels?|masks?|manual|groundtruth)([_.-]?\d+)?$|^(labels?|seg|mask)[_.-]"
)
"""How the names of label maps end or begin; in the middle such words mean other things."""

LABEL_FOLDER = re.compile(r"(labels?|masks?|segmentations?)(tr|ts|val|_?train|_?test)?", re.IGNORECASE)
"""Folders of label maps, as those of nnU-Net."""

IMAGE_VALUES = 128
"""More different values than this in a slice are those of an image, whatever the file is called."""

GZIP_MAGIC = b"\x1f\x8b"

MAX_PACKED = 1032
"""Bytes that one byte of gzip can become: what a header claims beyond that cannot be in the file."""

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
        spacing_mm: `(dx, dy, dz)` in mm, in the axis order of `array`; their product is the volume of a
            voxel, also where the affine is sheared.
        path: File it was read from, or None.
        frame_s: Time between frames in seconds, or None where the file does not tell.
        is_unwrapped: The file stores unsigned values as signed ones, and reading undid it.
        is_oriented: Whether the affine tells how the image lies in the patient.
        warnings: What is doubtful about the file, in plain words.
    """

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64]
    spacing_mm: tuple[float, float, float]
    path: Path | None = None
    frame_s: float | None = None
    is_unwrapped: bool = False
    is_oriented: bool = True
    warnings: tuple[str, ...] = ()

    def frame(self, index: int) -> "Volume":
        """Volume `(X, Y, Z)` of one frame of a cine, `index` 0-based."""
        return replace(self, array=self.array[..., index])


def read_volume(path: Path) -> Volume:
    """Image `(X, Y, Z)` or `(X, Y, Z, T)`, float32, from a NIfTI file.

    Args:
        path: `.nii` or `.nii.gz` file.

    Raises:
        DataError: If the file is missing, empty or truncated, is not a 3-D or 4-D
            grey image, holds NaN or infinity, is constant or a label map, or has no valid spacing.
    """
    image, array = _read(path)
    warnings: tuple[str, ...] = ()
    if np.iscomplexobj(array):
        array, warnings = np.abs(array), ("complex voxels: their magnitude is used",)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(f"expected finite intensities, found {count} NaN or infinite voxels in {path}")
    if array.min() == array.max():
        raise DataError(f"expected an image with contrast, found the constant {array.flat[0]:g} in {path}")
    if looks_like_labels(array):
        raise DataError(
            f"expected an image, found the whole numbers {np.unique(array).tolist()} alone in {path}: it "
            "looks like a label map; give the image that it was drawn on"
        )
    is_wrapped = bool(array.dtype == np.int16 and array.min() < -WRAP_LIMIT and array.max() > WRAP_LIMIT)
    if is_wrapped:
        logger.warning("%s stores unsigned intensities as int16: values above 32767 were restored", path)
        array = array.view(np.uint16)
    volume = _volume(path, image, array.astype(np.float32, copy=False))
    return replace(volume, is_unwrapped=is_wrapped, warnings=volume.warnings + warnings)


def looks_like_labels(array: npt.NDArray[Any]) -> bool:
    """Whether voxels are a few small whole numbers from 0, as in label maps and in no image."""
    # A row of voxels through the middle of an image has more values than that, which spares sorting them all.
    if array.size < MIN_VOXELS or len(np.unique(array[array.shape[0] // 2])) > MAX_LABEL_VALUES:
        return False
    values = np.unique(array)
    if len(values) > MAX_LABEL_VALUES or not _are_whole(values):
        return False
    values = np.round(values.real)
    small = values.min() >= 0 and values.max() <= MAX_LABEL_VALUES
    return bool(small) or LARGE_LABELS.issuperset(values.tolist())


def is_label_map(path: Path) -> bool:
    """Whether a NIfTI file is a label map by its name, and its voxels are not those of an image.

    Names end in `_gt`, `_seg`, `_label`, `_mask` or the like, begin with `label_` or `seg_`, or lie in a
    folder such as `labelsTr`. A file that cannot be read is taken at its word.

    Args:
        path: Any file.
    """
    name = re.sub(r"\.nii(\.gz)?$", "", path.name.lower())
    if name == path.name.lower() or not (LABEL_NAME.search(name) or LABEL_FOLDER.fullmatch(path.parent.name)):
        return False
    try:
        status = path.stat()
    except OSError:
        return True
    return _has_labels(path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=65536)
def _has_labels(path: Path, _changed_ns: int, _size: int) -> bool:
    """Whether a file's voxels may be labels; one that a server looks at again is read only if it changed."""
    try:
        voxels = _load(path).dataobj
        values = np.unique(np.asarray(voxels[:, :, voxels.shape[2] // 2]))
    except (DataError, *UNREADABLE):
        return True
    return len(values) <= IMAGE_VALUES and _are_whole(values)


def _are_whole(values: npt.NDArray[Any]) -> bool:
    """Whether all values are whole numbers but for rounding."""
    return bool(np.allclose(values, np.round(values.real), rtol=0, atol=WHOLE_TOLERANCE))


def read_grid(path: Path) -> tuple[tuple[int, ...], tuple[float, float, float]]:
    """Shape, and `(dx, dy, dz)` spacing in mm, from the header alone.

    Raises:
        DataError: If there is no readable header, or it has no valid spacing.
    """
    try:
        image = _load(path)
        return tuple(image.shape), _geometry(path, image).spacing_mm
    except DataError as error:
        raise DataError(f"expected a readable NIfTI file, found {path.name}: {error}") from error


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

    Values that are off by rounding, as of float32 or of a slope, are rounded.

    Args:
        path: `.nii` or `.nii.gz` file.

    Raises:
        DataError: As for `read_volume`, and if a value is not one of 0, 1, 2, 3.
    """
    image, array = _read(path)
    array = rounded(array)
    values = np.unique(array)
    wrong = [float(value) for value in values if value not in list(AcdcLabel)]
    if wrong:
        raise DataError(
            f"expected label values 0 to 3 (background, RV, MYO, LV), found {wrong[:5]} in {path}; "
            "map the dataset's values first"
        )
    return _volume(path, image, array.astype(np.uint8))


def rounded(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Labels with whole numbers in place of values that are off by rounding; others stay as they are."""
    if array.dtype.kind not in "fc":
        return array
    whole = np.round(array.real)
    return np.where(np.abs(array - whole) <= WHOLE_TOLERANCE, whole, array)


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
    if not volume.is_oriented:
        image.header["sform_code"] = 0
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
            f"expected the image's affine, found one that differs by {difference:.3g} in {label.path}"
            f"{_shift(image, label)}; copy the image's header or resample the label"
        )


def _shift(image: Volume, label: Volume) -> str:
    """How far a label's grid is moved, where it is only moved; else nothing."""
    if np.abs(image.affine[:3, :3] - label.affine[:3, :3]).max() > AFFINE_TOLERANCE_MM:
        return ""
    x, y, z = label.affine[:3, 3] - image.affine[:3, 3]
    return f": the same grid moved by {x:.1f}, {y:.1f} and {z:.1f} mm, which is likely an error of its header"


def slices_last(volume: Volume) -> tuple[Volume, Undo]:
    """The volume as a stack in the order of training, with its slices on the third axis, and the way back.

    Args:
        volume: `(X, Y, Z)` or `(X, Y, Z, T)` in any order and direction of the spatial axes.

    Returns:
        The volume with axes, spacing and affine (the same points in space) as `stack_order` finds them,
        and a function that takes an array of the stack's shape back to the file's own order; leading
        extra axes are not allowed.
    """
    order = stack_order(volume.affine, volume.spacing_mm, is_oriented=volume.is_oriented)
    first, second, third = (volume.spacing_mm[axis] for axis in order.axes)
    stack = replace(
        volume,
        array=order.to_stack(volume.array),
        affine=order.affine(volume.affine, volume.array.shape),
        spacing_mm=(first, second, third),
    )
    return stack, order.to_file


def _load(path: Path) -> nib.Nifti1Pair:
    """The image behind a path; its voxels are not read."""
    if not path.is_file():
        raise DataError(f"expected a NIfTI file, found nothing at {path}")
    if path.stat().st_size == 0:
        raise DataError(f"expected a NIfTI file, found zero bytes in {path}; copy it again")
    with path.open("rb") as stream:
        is_packed = stream.read(2) == GZIP_MAGIC
    if is_packed and path.suffix.lower() != ".gz":
        raise DataError(
            f"expected a NIfTI file that is not packed, found gzip in {path}; rename it to end in .gz"
        )
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise DataError(
                f"expected a NIfTI file, found {type(image).__name__} in {path}; convert it to .nii.gz"
            )
    except UNREADABLE as error:
        advice = "it may be truncated, copy it again"
        if path.suffix.lower() == ".gz" and not is_packed:
            advice = "it is not packed by gzip, remove .gz from its name"
        raise DataError(f"expected a readable NIfTI file, found {path}: {error}; {advice}") from error
    if math.prod(image.shape) > MAX_VOXELS:
        raise DataError(f"expected at most {MAX_VOXELS} voxels, found the shape {image.shape} in {path}")
    claimed = math.prod(image.shape) * image.get_data_dtype().itemsize
    if claimed > path.stat().st_size * (MAX_PACKED if is_packed else 1):
        raise DataError(
            f"expected a file that holds its voxels, found too few bytes for the shape {image.shape} in "
            f"{path}; it may be truncated, copy it again"
        )
    return image


def _read(path: Path) -> tuple[nib.Nifti1Pair, npt.NDArray[Any]]:
    image = _load(path)
    if image.get_data_dtype().fields:
        raise DataError(f"expected a grey image, found RGB voxels in {path}")
    try:
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


def _volume(path: Path, image: nib.Nifti1Pair, array: npt.NDArray[Any]) -> Volume:
    found = _geometry(path, image)
    return Volume(
        array,
        found.affine,
        found.spacing_mm,
        path,
        found.frame_s if array.ndim == 4 else None,
        is_oriented=found.is_oriented,
        warnings=found.warnings,
    )


def _geometry(path: Path, image: nib.Nifti1Pair) -> Geometry:
    try:
        return geometry(image)
    except DataError as error:
        raise DataError(f"{error} in {path}") from error
    except UNREADABLE as error:
        raise DataError(f"expected a readable NIfTI header, found {path}: {error}; copy it again") from error
