"""Short-axis cine series in DICOM, read into one volume with nibabel's geometry.

References:
    DICOM PS3.3 C.7.6.2, image plane module (position, orientation, spacing),
    https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.7.6.2.html
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pydicom

from pipelines.core.errors import DataError
from pipelines.core.volume import Volume
from pipelines.datasets.dicom_series import read_header

SAME_POSITION_MM = 0.2
"""Images closer than this along the slice normal show the same slice, mm."""

SAME_DIRECTION = 1e-3
"""Largest difference of direction cosines that still counts as parallel."""

MISSING_SLICE_RATIO = 1.5
"""A gap of this many times the usual slice spacing means that a slice is missing."""

UNEVEN_SHARE = 0.1
"""Slice gaps that differ from the median by more than this share are worth a warning."""

DRIFT_WARNING_MM = 2.0
"""In-plane shift between slices above which a warning is given, mm."""

FRAME_ORDER_TAGS = ("TriggerTime", "TemporalPositionIdentifier", "InstanceNumber")
"""Tags that order the frames of a slice, the most trustworthy first."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Image:
    path: Path
    header: Any
    position_mm: Floats
    along_normal_mm: float


def read_series(files: Sequence[Path]) -> tuple[Volume, list[str]]:
    """Volume `(X, Y, Z)` or cine `(X, Y, Z, T)`, float32, of one DICOM series.

    X runs along the image rows, Y down the columns and Z along the slice normal.
    The slice spacing comes from the slice positions; only a single slice takes it
    from its tags. Rescale slope and intercept are applied.

    Args:
        files: Existing image files of one series, in any order.

    Returns:
        The volume with its RAS+ affine, and warnings in plain words.

    Raises:
        DataError: If a file cannot be read or is no plain grey slice with geometry,
            orientations, sizes or frame counts differ, a slice is missing, frames
            cannot be put in order, or the image is constant.
    """
    images = _read_headers(files)
    slices = _by_position(images)
    slices, frame_s = _ordered_in_time(slices)
    columns, rows, normal, (row_gap, column_gap) = _plane(images[0].header, images[0].path)
    slice_gap, warnings = _slice_spacing([group[0] for group in slices], normal)
    array = _pixels(slices)
    lps = np.eye(4)
    lps[:3, 0] = columns * column_gap
    lps[:3, 1] = rows * row_gap
    lps[:3, 2] = normal * slice_gap
    lps[:3, 3] = slices[0][0].position_mm
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ lps
    return Volume(array, affine, (column_gap, row_gap, slice_gap), images[0].path.parent, frame_s), warnings


def order_series(files: Sequence[Path]) -> list[list[Path]]:
    """Files of a series by slice, from the lowest along the normal, and in each slice by time.

    Args:
        files: Existing image files of one series, in any order.

    Raises:
        DataError: As for `read_series`, as far as headers tell.
    """
    slices, _ = _ordered_in_time(_by_position(_read_headers(files)))
    return [[image.path for image in group] for group in slices]


def _read_headers(files: Sequence[Path]) -> list[_Image]:
    if not files:
        raise DataError("expected the files of a DICOM series, found none")
    images: dict[str, _Image] = {}
    reference: tuple[Any, ...] | None = None
    for path in sorted(files):
        header = read_header(path)
        if int(header.get("SamplesPerPixel", 1)) != 1:
            raise DataError(
                f"expected a grey image, found {header.SamplesPerPixel} samples a pixel in {path}"
            )
        if int(header.get("NumberOfFrames", 1) or 1) != 1:
            raise DataError(
                f"expected one image a file, found {header.NumberOfFrames} frames in {path}; "
                "convert enhanced DICOM to NIfTI (dcm2niix) first"
            )
        columns, rows, normal, spacing = _plane(header, path)
        size = (int(header.Columns), int(header.Rows))
        if reference is None:
            reference = (columns, rows, spacing, size)
        if np.abs([columns - reference[0], rows - reference[1]]).max() > SAME_DIRECTION:
            raise DataError(
                f"expected parallel slices in one series, found another orientation in {path}; "
                "give the short-axis series alone"
            )
        if size != reference[3] or not np.allclose(spacing, reference[2], rtol=1e-3):
            raise DataError(
                f"expected {reference[3]} pixels of {reference[2]} mm in every image of a series, "
                f"found {size} of {spacing} mm in {path}"
            )
        position = np.array([float(value) for value in header.ImagePositionPatient])
        images[str(header.get("SOPInstanceUID") or path)] = _Image(
            path, header, position, float(position @ normal)
        )
    return list(images.values())


def _plane(header: Any, path: Path) -> tuple[Floats, Floats, Floats, tuple[float, float]]:
    """Directions along a row, down a column and of the normal (LPS); row and column spacing in mm."""
    wanted = {"ImageOrientationPatient": 6, "ImagePositionPatient": 3, "PixelSpacing": 2}
    for tag, length in wanted.items():
        if len(header.get(tag) or ()) != length:
            raise DataError(f"expected {length} values of {tag}, found {header.get(tag)} in {path}")
    cosines = np.array([float(value) for value in header.ImageOrientationPatient])
    columns, rows = cosines[:3], cosines[3:]
    normal = np.cross(columns, rows)
    if abs(np.linalg.norm(normal) - 1) > 1e-2:
        raise DataError(f"expected two perpendicular unit directions in ImageOrientationPatient of {path}")
    row_gap, column_gap = (float(value) for value in header.PixelSpacing)
    if min(row_gap, column_gap) <= 0:
        raise DataError(f"expected positive pixel spacing in mm, found {row_gap} and {column_gap} in {path}")
    return columns, rows, normal / np.linalg.norm(normal), (row_gap, column_gap)


def _by_position(images: list[_Image]) -> list[list[_Image]]:
    """Images grouped by slice, from the lowest position along the normal."""
    ordered = sorted(images, key=lambda image: image.along_normal_mm)
    slices = [[ordered[0]]]
    for before, image in pairwise(ordered):
        if image.along_normal_mm - before.along_normal_mm > SAME_POSITION_MM:
            slices.append([])
        slices[-1].append(image)
    counts = [len(group) for group in slices]
    if len(set(counts)) > 1:
        usual = max(set(counts), key=counts.count)
        odd = ", ".join(f"slice {index + 1}: {count}" for index, count in enumerate(counts) if count != usual)
        raise DataError(
            f"expected {usual} frames in each of the {len(slices)} slices, found {odd} "
            f"in {images[0].path.parent}; copy the series again or remove the odd slices"
        )
    return slices


def _ordered_in_time(slices: list[list[_Image]]) -> tuple[list[list[_Image]], float | None]:
    """Slices with their frames in time order, and the seconds between frames if told."""
    if len(slices[0]) == 1:
        return slices, None
    for tag in FRAME_ORDER_TAGS:
        times = [[_number(image.header.get(tag)) for image in group] for group in slices]
        if all(None not in group and len(set(group)) == len(group) for group in times):
            ordered = [sorted(group, key=lambda image: float(image.header.get(tag))) for group in slices]
            steps = [np.diff(sorted(value for value in group if value is not None)) for group in times]
            frame_s = float(np.median(steps)) / 1000 if tag == "TriggerTime" else None
            return ordered, frame_s
    raise DataError(
        f"expected trigger times or instance numbers that order the {len(slices[0])} frames of each slice, "
        f"found none that differ in {slices[0][0].path.parent}"
    )


def _slice_spacing(stack: list[_Image], normal: Floats) -> tuple[float, list[str]]:
    """Mean distance between slices along the normal, mm, and warnings."""
    if len(stack) == 1:
        header = stack[0].header
        spacing = _number(header.get("SpacingBetweenSlices")) or _number(header.get("SliceThickness"))
        if not spacing or spacing <= 0:
            raise DataError(f"expected SliceThickness in the only slice, found none in {stack[0].path}")
        return spacing, []
    gaps = np.diff([image.along_normal_mm for image in stack])
    usual = float(np.median(gaps))
    # With two gaps the median lies between them, so the smallest gap decides what is usual.
    usual = float(gaps.min()) if len(gaps) == 2 else usual
    for index in np.flatnonzero(gaps > MISSING_SLICE_RATIO * usual):
        raise DataError(
            f"expected a slice every {usual:.1f} mm, found a gap of {gaps[index]:.1f} mm between slices "
            f"{index + 1} and {index + 2} in {stack[0].path.parent}; copy the missing slice"
        )
    warnings = []
    if np.abs(gaps - usual).max() > UNEVEN_SHARE * usual:
        warnings.append(
            f"slice spacing varies from {gaps.min():.1f} to {gaps.max():.1f} mm, its mean is used"
        )
    offsets = np.array([image.position_mm - stack[0].position_mm for image in stack])
    drift = float(np.linalg.norm(offsets - np.outer(offsets @ normal, normal), axis=1).max())
    if drift > DRIFT_WARNING_MM:
        warnings.append(
            f"slices are shifted in plane by up to {drift:.1f} mm, they are stacked without the shift"
        )
    return float(gaps.mean()), warnings


def _pixels(slices: list[list[_Image]]) -> npt.NDArray[np.float32]:
    """Intensities `(X, Y, Z)` or `(X, Y, Z, T)`, one file in memory at a time."""
    header = slices[0][0].header
    shape = (int(header.Columns), int(header.Rows), len(slices), len(slices[0]))
    array = np.empty(shape, dtype=np.float32)
    for z, group in enumerate(slices):
        for t, image in enumerate(group):
            try:
                dataset = pydicom.dcmread(image.path)
                pixels = np.asarray(dataset.pixel_array, dtype=np.float32)
            except (
                AttributeError,
                EOFError,
                NotImplementedError,
                OSError,
                RuntimeError,
                ValueError,
            ) as error:
                raise DataError(
                    f"expected pixel data that can be decoded, found {image.path}: {error}; "
                    "copy it again or decompress it"
                ) from error
            slope = float(dataset.get("RescaleSlope", 1) or 1)
            array[:, :, z, t] = pixels.T * slope + float(dataset.get("RescaleIntercept", 0) or 0)
    if array.min() == array.max():
        raise DataError(
            f"expected an image with contrast, found a constant one in {slices[0][0].path.parent}"
        )
    return array[..., 0] if shape[3] == 1 else array


def _number(value: Any) -> float | None:
    try:
        return None if value is None else float(value)
    except (TypeError, ValueError):
        return None
