"""Volumes and their NIfTI files: reading with checks of the geometry, resampling, writing."""

import gzip
import logging
import math
import re
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from pathlib import Path
from typing import Any, Final, Literal

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.arrayproxy import ArrayProxy

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.plausibility import slice_axis, stack_order
from pipelines.core.records import AcdcLabel

logger = logging.getLogger(__name__)

Floats = npt.NDArray[np.float64]

PLAUSIBLE_MM: Final = (0.05, 50.0)
"""Smallest and largest side of a voxel of MRI or CT, mm; beyond them the unit of the header is doubted."""

MM_OF_UNIT: Final = {1: ("metre", 1e3), 2: ("millimetre", 1.0), 3: ("micron", 1e-3)}
"""Name and millimetres of each code of space in `xyzt_units`; 0 is unknown and taken for millimetres."""

SECONDS_OF_UNIT: Final = {8: 1.0, 16: 1e-3, 24: 1e-6}
"""Seconds of each code of time in `xyzt_units`."""

MAX_FRAME_S: Final = 2.0
"""Longest time between frames in s; a larger number of an unknown unit is taken for milliseconds."""

SAME_SPACING: Final = 0.02
"""Relative difference of two spacings that still counts as one."""

SAME_DIRECTION: Final = 0.01
"""Largest difference of direction cosines that still counts as parallel, and cosine of a right angle."""

DRIFT_WARNING_MM: Final = 2.0
"""In-plane shift from the first slice to the last above which a warning is given, mm."""


@dataclass(frozen=True, slots=True)
class Geometry:
    """Geometry of a volume in millimetres.

    Attributes:
        affine: `(4, 4)` float64, voxel index to RAS+ millimetres.
        spacing_mm: `(dx, dy, dz)` in mm; their product is the volume of a voxel. Of slices that are shifted
            against each other it is the distance between their planes.
        is_oriented: Whether the header tells how the image lies in the patient.
        frame_s: Time between frames in seconds, or None where the file does not tell.
        warnings: What is doubtful about them, in plain words.
    """

    affine: Floats
    spacing_mm: tuple[float, float, float]
    is_oriented: bool
    frame_s: float | None
    warnings: tuple[str, ...]


def _geometry(path: Path, image: nib.Nifti1Pair) -> Geometry:
    """Geometry that an image's header tells.

    The sform counts, unless it is a mere placeholder or cannot be inverted; then the qform, then the voxel
    size alone. Units are converted, and doubted where voxels would be smaller or larger than any scanner's.

    Args:
        path: Its file, for messages.
        image: As nibabel loads it; voxels are not read.

    Raises:
        DataError: If a voxel size is not positive or no affine can be inverted.
    """
    try:
        # Spacing as the file has it: nibabel turns 0 into 1 and drops signs when it loads a header.
        holder = image.file_map.get("header") or image.file_map["image"]
        with holder.get_prepare_fileobj("rb") as stream:
            header: Any = image.header_class.from_fileobj(stream, check=False)
        stored = np.asarray(header["pixdim"][1:4], dtype=np.float64)
        if not (np.isfinite(stored).all() and (stored > 0).all()):
            sizes = tuple(round(float(one), 4) for one in stored)
            raise DataError(f"expected positive voxel spacing in mm, found {sizes}")
        affine, is_oriented, warnings = _affine(image, stored)
        units = int(image.header["xyzt_units"])
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        named = MM_OF_UNIT.get(units & 7, ("unknown unit", 1.0))
        plausible = [
            one
            for one in (named, *MM_OF_UNIT.values())
            if PLAUSIBLE_MM[0] <= (lengths * one[1]).min() and (lengths * one[1]).max() <= PLAUSIBLE_MM[1]
        ]
        unit, factor = plausible[0] if plausible else named
        if (unit, factor) != named:
            warnings.append(
                f"the header tells voxels of {_words(lengths, unit=named[0])}, which no scanner has: "
                f"the unit is taken for {unit}"
            )
        affine = np.diag([factor, factor, factor, 1.0]) @ affine
        spacing, shifts = _spacing(affine, image.shape)
        zooms = image.header.get_zooms()
        frame_s = None
        if len(image.shape) == 4 and len(zooms) == 4 and np.isfinite(zooms[3]) and zooms[3] > 0:
            unknown = 1e-3 if float(zooms[3]) > MAX_FRAME_S else 1.0
            frame_s = float(zooms[3]) * SECONDS_OF_UNIT.get(units & 0x38, unknown)
        return Geometry(affine, spacing, is_oriented, frame_s, (*warnings, *shifts))
    except DataError as error:
        raise DataError(f"{error} in {path}") from error
    except UNREADABLE as error:
        raise DataError(f"expected a readable NIfTI header, found {path}: {error}; copy it again") from error


def _affine(image: nib.Nifti1Pair, stored: Floats) -> tuple[Floats, bool, list[str]]:
    """The affine in the header's unit, whether it tells of directions, and warnings."""
    header = image.header
    sform = np.asarray(header.get_sform(), dtype=np.float64) if int(header["sform_code"]) > 0 else None
    qform = np.asarray(header.get_qform(), dtype=np.float64) if int(header["qform_code"]) > 0 else None
    sizes = _words(stored)
    if sform is None and qform is None:
        reason = "the file does not tell how the image lies in the patient (no sform, no qform)"
        return np.asarray(image.affine, dtype=np.float64), False, [f"{reason}: {_AS_STORED}"]
    # A sform with voxels of 1 along the axes, while the file knows of another size.
    is_unit = sform is not None and np.allclose(np.abs(sform[:3, :3]), np.eye(3), atol=1e-4)
    if is_unit and not np.allclose(stored, 1.0, rtol=SAME_SPACING):
        reason = f"the sform is a placeholder with voxels of 1 mm, pixdim tells {sizes}"
        if qform is not None and _is_sound(qform):
            return qform, True, [f"{reason}: the qform is used"]
        return (
            np.asarray(header.get_base_affine(), dtype=np.float64),
            False,
            [f"{reason}: pixdim is used; {_AS_STORED}"],
        )
    if sform is not None and not _is_sound(sform) and qform is not None and _is_sound(qform):
        return qform, True, ["the sform cannot be inverted: the qform is used"]
    affine = sform if sform is not None else qform
    assert affine is not None
    if not np.isfinite(affine).all() or not (np.linalg.norm(affine[:3, :3], axis=0) > 0).all():
        raise DataError(f"expected positive voxel spacing in mm, found {sizes} and an affine without")
    if not _is_sound(affine):
        raise DataError("expected an affine that can be inverted, found a flat one")
    warnings = []
    lengths, heights = np.linalg.norm(affine[:3, :3], axis=0), _heights(affine)
    # Where slices are shifted, some converters write the distance of the planes and some that of the corners.
    fits = np.isclose(stored, lengths, rtol=SAME_SPACING) | np.isclose(stored, heights, rtol=SAME_SPACING)
    if not fits.all():
        percent = 100 * abs(float(np.prod(stored) / np.prod(heights)) - 1)
        warnings.append(
            f"the header contradicts itself: voxels of {_words(heights)} by the sform, which is used, and "
            f"{sizes} by pixdim; volumes differ by {percent:.0f}%, check the slice distance"
        )
    if sform is not None and qform is not None and _is_sound(qform):
        one, other = (form[:3, :3] / np.linalg.norm(form[:3, :3], axis=0) for form in (sform, qform))
        if np.abs(one - other).max() > SAME_DIRECTION:
            warnings.append(
                "the header contradicts itself: sform and qform turn the image differently, the sform is used"
            )
    return affine, True, warnings


_AS_STORED: Final = (
    "it is taken as stored, which must be base first with the RV on the side of small first indices"
)


def _is_sound(affine: Floats) -> bool:
    """Whether an affine can be inverted, whatever its unit."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def _spacing(affine: Floats, shape: tuple[int, ...]) -> tuple[tuple[float, float, float], list[str]]:
    """Sides of a voxel whose product is its volume, and a warning where slices are shifted."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    directions = affine[:3, :3] / lengths
    pairs = tuple(combinations(range(3), 2))
    cosines = {pair: abs(float(directions[:, pair[0]] @ directions[:, pair[1]])) for pair in pairs}
    if max(cosines.values()) < SAME_DIRECTION / 10:
        return (float(lengths[0]), float(lengths[1]), float(lengths[2])), []
    axis = slice_axis((float(lengths[0]), float(lengths[1]), float(lengths[2])))
    spacing = lengths.copy()
    spacing[axis] = abs(np.linalg.det(affine[:3, :3])) / np.prod(np.delete(lengths, axis))
    shift_mm = np.sqrt(max(float(lengths[axis] ** 2 - _heights(affine)[axis] ** 2), 0.0)) * (shape[axis] - 1)
    warnings = []
    if shift_mm > DRIFT_WARNING_MM:
        warnings.append(
            f"slices are shifted in plane by up to {shift_mm:.1f} mm, they are stacked without the shift"
        )
    if cosines[next(pair for pair in pairs if axis not in pair)] > SAME_DIRECTION:
        warnings.append("rows and columns are not at right angles: the shape of the heart is distorted")
    return (float(spacing[0]), float(spacing[1]), float(spacing[2])), warnings


def _heights(affine: Floats) -> Floats:
    """Distance between the planes across each axis."""
    heights: Floats = 1 / np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)
    return heights


def _words(sizes: Floats, unit: str = "mm") -> str:
    return " x ".join(f"{float(size):.4g}" for size in sizes) + f" {unit}"


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

FLAT_SHARE = 0.75
"""Share of neighbours that are equal, background aside, from which a few values are labels: at least 0.89 in
40 label maps of ACDC, and at most 0.70 in 6 images of ACDC that were cut down to 4, 8 or 16 grey values."""

MIN_VOXELS = 1000
"""Voxels of the smallest array whose values tell that it is a label map."""

LABEL_NAME = re.compile(
    r"(^|[_.-])(gt|seg|segmentation|labels?|masks?|manual|groundtruth)([_.-]?\d+)?$|^(labels?|seg|mask)[_.-]"
)
"""How the names of label maps end or begin; in the middle such words mean other things."""

LABEL_FOLDER = re.compile(r"(labels?|masks?|segmentations?)(tr|ts|val|_?train|_?test)?", re.IGNORECASE)
"""Folders of label maps, as those of nnU-Net."""

IMAGE_VALUES = 128
"""More different values than this in a slice are those of an image, whatever the file is called."""

LABEL_MAP = "a label map by its voxels, or by its name; give the file itself if it is an image"
"""Why a file is passed over."""

GZIP_MAGIC = b"\x1f\x8b"

MAX_PACKED = 1032
"""Bytes that one byte of gzip can become: what a header claims beyond that cannot be in the file."""

MAX_TRAILING = 1 << 24
"""Bytes behind the voxels of a packed file that are unpacked in search of its checksum."""

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
    volume = read_values(path)
    array, warnings = volume.array, volume.warnings
    if np.iscomplexobj(array):
        array, warnings = np.abs(array), (*warnings, "complex voxels: their magnitude is used")
    if array.dtype.kind == "f":
        with np.errstate(over="ignore"):
            array = array.astype(np.float32, copy=False)
    if not np.isfinite(array).all():
        count = int((~np.isfinite(array)).sum())
        raise DataError(
            f"expected finite intensities, found {count} NaN or infinite voxels (as float32) in {path}"
        )
    if array.min() == array.max():
        raise DataError(f"expected an image with contrast, found the constant {array.flat[0]:g} in {path}")
    labels = kind_of_labels(array)
    if labels == "whole":
        raise DataError(
            f"expected an image, found the values {np.unique(array).tolist()} alone in {path}: it "
            "looks like a label map; give the image that it was drawn on"
        )
    if labels == "stepped":
        warnings += (f"it has {len(np.unique(array))} values alone, in equal steps from 0: a label map?",)
    is_wrapped = bool(array.dtype == np.int16 and array.min() < -WRAP_LIMIT and array.max() > WRAP_LIMIT)
    if is_wrapped:
        logger.warning("%s stores unsigned intensities as int16: values above 32767 were restored", path)
        array = array.view(np.uint16)
    array = array.astype(np.float32, copy=False)
    return replace(volume, array=array, is_unwrapped=is_wrapped, warnings=warnings)


def kind_of_labels(array: npt.NDArray[Any]) -> Literal["whole", "stepped"] | None:
    """`"whole"` for a few small whole numbers, `"stepped"` for flat areas in equal steps from 0, or None."""
    # A row of voxels through the middle of an image has more values than that, which spares sorting them all.
    if array.size < MIN_VOXELS or len(np.unique(array[array.shape[0] // 2])) > MAX_LABEL_VALUES:
        return None
    values = np.unique(array)
    if not 1 < len(values) <= MAX_LABEL_VALUES:
        return None
    whole = np.round(values.real)
    if _are_whole(values) and whole.min() >= 0 and whole.max() <= MAX_LABEL_VALUES:
        return "whole"
    steps = values.real / np.diff(values.real).min()
    if values[0] != 0 or steps[-1] > MAX_LABEL_VALUES or not _are_whole(steps):
        return None  # such as the flat areas of a simple phantom
    before, after = array[:-1], array[1:]
    is_inside = (before != array.flat[0]) | (after != array.flat[0])  # the first corner is background
    return "stepped" if is_inside.any() and np.mean((before == after)[is_inside]) > FLAT_SHARE else None


def is_label_map(path: Path) -> bool:
    """Whether a NIfTI file is a label map by its voxels, or by its name where its voxels may be labels.

    Names end in `_gt`, `_seg`, `_label`, `_mask` or the like, begin with `label_` or `seg_`, or lie in a
    folder such as `labelsTr`. A file that cannot be read is taken at its word. Of most images no more than
    the first slice is read.

    Args:
        path: Any file.
    """
    name = re.sub(r"\.nii(\.gz)?$", "", path.name.lower())
    if name == path.name.lower():
        return False
    is_named = bool(LABEL_NAME.search(name) or LABEL_FOLDER.fullmatch(path.parent.name))
    try:
        status = path.stat()
    except OSError:
        return is_named
    return _has_labels(path, status.st_mtime_ns, status.st_size, is_named)


@lru_cache(maxsize=65536)
def _has_labels(path: Path, _changed_ns: int, _size: int, is_named: bool) -> bool:
    """Whether a file's voxels are labels; one that a server looks at again is read only if it changed."""
    most = IMAGE_VALUES if is_named else MAX_LABEL_VALUES
    try:
        voxels = _load(path).dataobj
        for index in (0, voxels.shape[2] // 2):
            values = np.unique(np.asarray(voxels[:, :, index]))
            if len(values) > most or (is_named and not _are_whole(values)):
                return False
        return is_named or kind_of_labels(np.asarray(voxels)) is not None
    except (DataError, *UNREADABLE):
        return is_named


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
    image = _load(path)
    if image.get_data_dtype().fields:
        raise DataError(f"expected a grey image, found RGB voxels in {path}")
    try:
        array = np.asarray(image.dataobj) if path.suffix.lower() != ".gz" else _unpacked(path, image.dataobj)
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


def _unpacked(path: Path, voxels: Any) -> npt.NDArray[Any]:
    """Voxels of a packed file, which is read to its end: the checksum behind them may not fit."""
    with gzip.open(path) as stream:
        layout = (voxels.shape, voxels.dtype, voxels.offset, voxels.slope, voxels.inter)
        array = np.asarray(ArrayProxy(stream, layout))
        rest = MAX_TRAILING
        while rest > 0 and (chunk := stream.read(1 << 20)):
            rest -= len(chunk)
    return array


def read_label(path: Path) -> Volume:
    """Label map `(X, Y, Z)` or `(X, Y, Z, T)`, uint8 with values from `AcdcLabel`.

    Values that are off by rounding, as of float32 or of a slope, are rounded.

    Args:
        path: `.nii` or `.nii.gz` file.

    Raises:
        DataError: As for `read_volume`, and if a value is not one of 0, 1, 2, 3.
    """
    volume = read_values(path)
    array = rounded(volume.array)
    values = np.unique(array)
    wrong = [float(value) for value in values if value not in list(AcdcLabel)]
    if wrong:
        raise DataError(
            f"expected label values 0 to 3 (background, RV, MYO, LV), found {wrong[:5]} in {path}; "
            "map the dataset's values first"
        )
    return replace(volume, array=array.astype(np.uint8))


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
        shift = ""
        if np.abs(image.affine[:3, :3] - label.affine[:3, :3]).max() <= AFFINE_TOLERANCE_MM:
            x, y, z = label.affine[:3, 3] - image.affine[:3, 3]
            moved = f"{x:.1f}, {y:.1f} and {z:.1f} mm"
            shift = f": the same grid moved by {moved}, which is likely an error of its header"
        raise DataError(
            f"expected the image's affine, found one that differs by {difference:.3g} in {label.path}"
            f"{shift}; copy the image's header or resample the label"
        )


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


def check_packing(path: Path) -> bool:
    """Whether a NIfTI file is packed by gzip.

    Args:
        path: Existing file.

    Raises:
        DataError: If its name tells otherwise, or it is empty.
    """
    if path.stat().st_size == 0:
        raise DataError(f"expected a NIfTI file, found zero bytes in {path}; copy it again")
    with path.open("rb") as stream:
        is_packed = stream.read(2) == GZIP_MAGIC
    if is_packed == (path.suffix.lower() == ".gz"):
        return is_packed
    advice = "packed by gzip, rename it to end in .gz" if is_packed else "not packed by gzip"
    advice += "" if is_packed else ", remove .gz from its name or copy it again"
    raise DataError(f"expected a readable NIfTI file, found {path}: it is {advice}")


def _load(path: Path) -> nib.Nifti1Pair:
    """The image behind a path; its voxels are not read."""
    if not path.is_file():
        raise DataError(f"expected a NIfTI file, found nothing at {path}")
    is_packed = check_packing(path)
    try:
        image = nib.load(path)
        if not isinstance(image, nib.Nifti1Pair):
            raise DataError(
                f"expected a NIfTI file, found {type(image).__name__} in {path}; convert it to .nii.gz"
            )
    except UNREADABLE as error:
        raise DataError(
            f"expected a readable NIfTI file, found {path}: {error}; it may be truncated, copy it again"
        ) from error
    first = image.header.single_vox_offset if isinstance(image, nib.Nifti1Image) else 0
    if image.dataobj.offset < first:
        raise DataError(
            f"expected voxels from byte {first} on, found byte {image.dataobj.offset}, within the header of "
            f"{path}; correct vox_offset"
        )
    if math.prod(image.shape) > MAX_VOXELS:
        raise DataError(f"expected at most {MAX_VOXELS} voxels, found the shape {image.shape} in {path}")
    claimed = math.prod(image.shape) * image.get_data_dtype().itemsize
    if claimed > path.stat().st_size * (MAX_PACKED if is_packed else 1):
        raise DataError(
            f"expected a file that holds its voxels, found too few bytes for the shape {image.shape} in "
            f"{path}; it may be truncated, copy it again"
        )
    return image
