"""Where a NIfTI image lies in space and how large its voxels are, although headers contradict themselves.

References:
    Fields and their precedence: https://nifti.nimh.nih.gov/nifti-1/documentation/nifti1fields
"""

from dataclasses import dataclass
from itertools import combinations
from typing import Any, Final

import nibabel as nib
import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.stack_order import slice_axis

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


def geometry(image: nib.Nifti1Pair) -> Geometry:
    """Geometry that an image's header tells.

    The sform counts, unless it is a mere placeholder or cannot be inverted; then the qform, then the voxel
    size alone. Units are converted, and doubted where voxels would be smaller or larger than any scanner's.

    Args:
        image: As nibabel loads it; voxels are not read.

    Raises:
        DataError: If a voxel size is not positive or no affine can be inverted.
    """
    stored = _stored_spacing(image)
    if not (np.isfinite(stored).all() and (stored > 0).all()):
        raise DataError(
            f"expected positive voxel spacing in mm, found {tuple(round(float(one), 4) for one in stored)}"
        )
    affine, is_oriented, warnings = _affine(image, stored)
    factor, doubts = _millimetres(image, np.linalg.norm(affine[:3, :3], axis=0))
    affine = np.diag([factor, factor, factor, 1.0]) @ affine
    spacing, shifts = _spacing(affine, image.shape)
    return Geometry(affine, spacing, is_oriented, _frame_s(image), (*warnings, *doubts, *shifts))


def _affine(image: nib.Nifti1Pair, stored: Floats) -> tuple[Floats, bool, list[str]]:
    """The affine in the header's unit, whether it tells of directions, and warnings."""
    header = image.header
    sform = np.asarray(header.get_sform(), dtype=np.float64) if int(header["sform_code"]) > 0 else None
    qform = np.asarray(header.get_qform(), dtype=np.float64) if int(header["qform_code"]) > 0 else None
    sizes = _words(stored)
    if sform is None and qform is None:
        reason = "the file does not tell how the image lies in the patient (no sform, no qform)"
        return np.asarray(image.affine, dtype=np.float64), False, [f"{reason}: {_AS_STORED}"]
    if sform is not None and _is_placeholder(sform, stored):
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
        turned = _directions(sform) - _directions(qform)
        if np.abs(turned).max() > SAME_DIRECTION:
            warnings.append(
                "the header contradicts itself: sform and qform turn the image differently, the sform is used"
            )
    return affine, True, warnings


_AS_STORED: Final = (
    "it is taken as stored, which must be base first with the RV on the side of small first indices"
)


def _is_placeholder(sform: Floats, stored: Floats) -> bool:
    """Whether a sform has voxels of 1 along the axes, while the file knows of another size."""
    unit = np.allclose(np.abs(sform[:3, :3]), np.eye(3), atol=1e-4)
    return bool(unit) and not np.allclose(stored, 1.0, rtol=SAME_SPACING)


def _is_sound(affine: Floats) -> bool:
    """Whether an affine can be inverted, whatever its unit."""
    lengths = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not (lengths > 0).all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / lengths)) > 1e-3)


def _millimetres(image: nib.Nifti1Pair, lengths: Floats) -> tuple[float, list[str]]:
    """Millimetres of the header's unit, and a warning if it cannot be the one that is named."""
    code = int(image.header["xyzt_units"]) & 7
    name, factor = MM_OF_UNIT.get(code, ("unknown unit", 1.0))

    def is_plausible(millimetres: float) -> bool:
        sizes = lengths * millimetres
        return bool(sizes.min() >= PLAUSIBLE_MM[0] and sizes.max() <= PLAUSIBLE_MM[1])

    if is_plausible(factor):
        return factor, []
    for other, millimetres in MM_OF_UNIT.values():
        if is_plausible(millimetres):
            doubt = (
                f"the header tells voxels of {_words(lengths, unit=name)}, which no scanner has: "
                f"the unit is taken for {other}"
            )
            return millimetres, [doubt]
    return factor, []


def _spacing(affine: Floats, shape: tuple[int, ...]) -> tuple[tuple[float, float, float], list[str]]:
    """Sides of a voxel whose product is its volume, and a warning where slices are shifted."""
    lengths, directions = np.linalg.norm(affine[:3, :3], axis=0), _directions(affine)
    cosines = {pair: abs(float(directions[:, pair[0]] @ directions[:, pair[1]])) for pair in _PAIRS}
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
    if cosines[next(pair for pair in _PAIRS if axis not in pair)] > SAME_DIRECTION:
        warnings.append("rows and columns are not at right angles: the shape of the heart is distorted")
    return (float(spacing[0]), float(spacing[1]), float(spacing[2])), warnings


_PAIRS: Final = tuple(combinations(range(3), 2))


def _directions(affine: Floats) -> Floats:
    directions: Floats = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    return directions


def _heights(affine: Floats) -> Floats:
    """Distance between the planes across each axis."""
    heights: Floats = 1 / np.linalg.norm(np.linalg.inv(affine[:3, :3]), axis=1)
    return heights


def _frame_s(image: nib.Nifti1Pair) -> float | None:
    zooms = image.header.get_zooms()
    if len(image.shape) != 4 or len(zooms) < 4 or not np.isfinite(zooms[3]) or zooms[3] <= 0:
        return None
    step = float(zooms[3])
    unknown = 1e-3 if step > MAX_FRAME_S else 1.0
    return step * SECONDS_OF_UNIT.get(int(image.header["xyzt_units"]) & 0x38, unknown)


def _stored_spacing(image: nib.Nifti1Pair) -> Floats:
    """Spacing as the file has it: nibabel turns 0 into 1 and drops signs when it loads a header."""
    holder = image.file_map.get("header") or image.file_map["image"]
    with holder.get_prepare_fileobj("rb") as stream:
        header: Any = image.header_class.from_fileobj(stream, check=False)
    return np.asarray(header["pixdim"][1:4], dtype=np.float64)


def _words(sizes: Floats, unit: str = "mm") -> str:
    return " x ".join(f"{float(size):.4g}" for size in sizes) + f" {unit}"
