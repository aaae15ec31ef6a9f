"""Which DICOM files belong together: series, and stacks saved as one series a slice."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import DataError
from pipelines.core.records import Problem
from pipelines.datasets.dicom_file import DicomImage, read_images

SAME_POSITION_MM: Final = 0.2
"""Images closer than this along the slice normal show the same slice, mm."""

SAME_DIRECTION: Final = 1e-3
"""Largest difference of direction cosines that still counts as parallel."""

SAME_ECHO: Final = 0.05
"""Share by which echo times of one contrast may differ."""

FEWEST_FRAMES: Final = 0.5
"""Share of the usual frames from which a slice belongs to a cine."""


@dataclass(frozen=True, slots=True)
class Series:
    """The image files of one DICOM series, or of one stack saved as a series a slice.

    Attributes:
        number: SeriesNumber, the first of a stack's, or None.
        patient: PatientID, `""` if there is none.
        files: Image files in name order.
        uids: SeriesInstanceUIDs, in their order.
    """

    number: int | None
    patient: str
    files: tuple[Path, ...]
    uids: tuple[str, ...] = ()


def group_series(files: Iterable[Path]) -> tuple[list[Series], list[Problem]]:
    """Image series among DICOM files, in the order of their series numbers.

    A series is known by its patient, study and series together; files without a series
    UID make one for each folder. Some scanners save each slice of a cine as a series of
    its own: single-slice series of one patient and study that are parallel, of one kind
    and of about as many frames are put together, and so is a slice that was scanned
    again. Files without an image (reports, `DICOMDIR`) are left out.

    Args:
        files: Existing files that should be DICOM, in any order and from any folders.

    Returns:
        The series, and the files that could not be read with the reason.
    """
    by_series: dict[object, list[DicomImage]] = {}
    problems: list[Problem] = []
    for path in sorted(files):
        try:
            images = read_images(path)
        except DataError as error:
            problems.append(Problem(path.parent.name, path, str(error)))
            continue
        for image in images:
            key = (image.subject, image.study, image.series or path.parent)
            by_series.setdefault(key, []).append(image)
    series = [_series(images) for images in _with_stacks_joined(list(by_series.values()))]
    return sorted(series, key=lambda one: (one.number is None, one.number or 0, one.files)), problems


def is_parallel(one: DicomImage, other: DicomImage) -> bool:
    """Whether the normals of two images are the same but for their sign; never if one has none."""
    a, b = one.normal, other.normal
    return bool(min(np.abs(a - b).max(), np.abs(a + b).max()) <= SAME_DIRECTION)


def by_position(images: Sequence[DicomImage], normal: npt.NDArray[np.float64]) -> list[list[DicomImage]]:
    """Images, all with a position, by slice from the lowest along the normal."""
    ordered = sorted(images, key=lambda image: float(image.position_mm @ normal))
    slices: list[list[DicomImage]] = []
    before = -np.inf
    for image in ordered:
        along_mm = float(image.position_mm @ normal)
        if along_mm - before > SAME_POSITION_MM:
            slices.append([])
        slices[-1].append(image)
        before = along_mm
    return slices


def _with_stacks_joined(groups: list[list[DicomImage]]) -> list[list[DicomImage]]:
    """Single-slice series put together, and scanned again put to the series with that slice."""
    stacks: list[list[list[DicomImage]]] = []
    by_study: dict[object, list[list[list[DicomImage]]]] = {}
    for images in sorted(groups, key=lambda group: _slices(group) == 1):
        first = images[0]
        # An ending number counts the slices: "SAX_b1", "SAX_b2".
        key = (first.subject, first.study, re.sub(r"\d+", "", first.description), first.kind)
        candidates = by_study.setdefault(key, []) if first.study else []
        stack = next((one for one in candidates if _belongs(images, one)), None)
        if stack is None:
            stack = []
            stacks.append(stack)
            if first.study:
                candidates.append(stack)
        stack.append(images)
    return [[image for images in stack for image in images] for stack in stacks]


def _slices(images: Sequence[DicomImage]) -> int:
    """Number of positions of images that are parallel; 0 where that is not known."""
    if not all(is_parallel(image, images[0]) and np.isfinite(image.position_mm).all() for image in images):
        return 0
    return len(by_position(images, images[0].normal))


def _belongs(images: list[DicomImage], stack: list[list[DicomImage]]) -> bool:
    """Whether a series of one slice is another slice of a stack of such, or a slice of a series again."""
    first, other = images[0], stack[0][0]
    slices = _slices(stack[0])
    if _slices(images) != 1 or slices == 0 or not is_parallel(first, other):
        return False
    if first.echo_ms and other.echo_ms and abs(first.echo_ms / other.echo_ms - 1) > SAME_ECHO:
        return False
    frames, usual = len(images), round(len(stack[0]) / slices)
    if (frames == 1) != (usual == 1) or not FEWEST_FRAMES <= frames / usual <= 1 / FEWEST_FRAMES:
        return False
    if slices == 1:
        return True
    places_mm = np.array([image.position_mm for image in stack[0]]) @ other.normal
    is_same_place = np.abs(places_mm - first.position_mm @ other.normal).min() <= SAME_POSITION_MM
    return bool(is_same_place) and first.size == other.size and frames == usual > 1


def _series(images: list[DicomImage]) -> Series:
    numbers = [image.series_number for image in images if image.series_number is not None]
    files = tuple(sorted({image.path for image in images}))
    uids = tuple(sorted({image.series for image in images}))
    return Series(min(numbers, default=None), images[0].subject[0], files, uids)
