"""Which DICOM files belong together: series by their UID, and stacks saved one series a slice."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
from pydicom.errors import InvalidDicomError

from pipelines.core.errors import DataError
from pipelines.core.records import Problem

SHARED_TAGS = ("ImageOrientationPatient", "PixelSpacing", "Rows", "Columns")
"""Tags that agree in all slices of one stack."""


@dataclass(frozen=True, slots=True)
class Series:
    """The image files of one DICOM series, or of one stack saved as a series a slice.

    Attributes:
        number: SeriesNumber, the first of a stack's, or None.
        patient: PatientID, `""` if there is none.
        files: Image files in name order.
    """

    number: int | None
    patient: str
    files: tuple[Path, ...]


def is_dicom(path: Path) -> bool:
    """Whether a file has the DICOM preamble (`DICM` after 128 bytes)."""
    try:
        with path.open("rb") as stream:
            return stream.read(132)[128:] == b"DICM"
    except OSError:
        return False


def read_header(path: Path) -> Any:
    """DICOM tags of a file without its pixels.

    Raises:
        DataError: If it is no DICOM file or is cut off.
    """
    try:
        return pydicom.dcmread(path, stop_before_pixels=True)
    except (InvalidDicomError, EOFError, OSError, ValueError) as error:
        raise DataError(f"expected a readable DICOM file, found {path}: {error}; copy it again") from error


def group_series(files: Iterable[Path]) -> tuple[list[Series], list[Problem]]:
    """Image series among DICOM files, in the order of their series numbers.

    Some scanners save each slice of a cine as a series of its own. Single-slice
    series of one study with the same orientation, size and frame count, each at
    another position, are therefore put together. Files without an image (reports,
    `DICOMDIR`) are left out.

    Args:
        files: Existing files that should be DICOM, in any order and from any folders.

    Returns:
        The series, and the files that could not be read with the reason.
    """
    by_uid: dict[str, list[tuple[Path, Any]]] = {}
    problems: list[Problem] = []
    for path in sorted(files):
        try:
            header = read_header(path)
            _check_numbers(header, path)
        except DataError as error:
            problems.append(Problem(path.parent.name, path, str(error)))
            continue
        if "Rows" in header and "SeriesInstanceUID" in header:
            by_uid.setdefault(str(header.SeriesInstanceUID), []).append((path, header))
    series = [_series(images) for images in _with_stacks_joined(list(by_uid.values()))]
    return sorted(series, key=lambda one: (one.number is None, one.number or 0, one.files)), problems


def _check_numbers(header: Any, path: Path) -> None:
    # pydicom parses a value when it is first asked for.
    for tag in ("SeriesNumber", "ImagePositionPatient", *SHARED_TAGS):
        try:
            _rounded(header.get(tag))
        except (TypeError, ValueError) as error:
            raise DataError(f"expected numbers in {tag} of {path}, found others: {error}") from error


def _with_stacks_joined(groups: list[list[tuple[Path, Any]]]) -> list[list[tuple[Path, Any]]]:
    stacks: dict[object, list[list[tuple[Path, Any]]]] = {}
    for index, images in enumerate(groups):
        places = {_rounded(header.get("ImagePositionPatient")) for _, header in images}
        first = images[0][1]
        is_slice = len(places) == 1 and "StudyInstanceUID" in first
        shared = (_rounded(first.get(tag)) for tag in SHARED_TAGS)
        key = (str(first.get("StudyInstanceUID")), len(images), *shared)
        stacks.setdefault(key if is_slice else index, []).append(images)
    joined = []
    for stack in stacks.values():
        places = {_rounded(images[0][1].get("ImagePositionPatient")) for images in stack}
        # A slice that was scanned twice leaves open which of the two is meant.
        joined += [[image for images in stack for image in images]] if len(places) == len(stack) else stack
    return joined


def _rounded(value: Any) -> tuple[float, ...]:
    """Numbers of a tag to 3 decimals, since scanners write the same value with other digits."""
    values = np.atleast_1d([] if value is None else np.asarray(value, dtype=np.float64))
    return tuple(float(number) for number in np.round(values, 3) + 0.0)


def _series(images: list[tuple[Path, Any]]) -> Series:
    numbers = [int(header.SeriesNumber) for _, header in images if header.get("SeriesNumber") is not None]
    patient = str(images[0][1].get("PatientID") or "")
    return Series(min(numbers, default=None), patient, tuple(sorted(path for path, _ in images)))
