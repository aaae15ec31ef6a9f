"""What is told of a study by its accepted labels: a page as PDF, a table as CSV, DICOM SEG and SR, FHIR."""

import csv
import io
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.core.cardiac import PatientFacts
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import Phase
from pipelines.core.volume import Volume, read_label, read_volume
from pipelines.datasets.dicom import order_series
from pipelines.datasets.dicom_file import read_facts
from pipelines.datasets.nifti_releases import info_facts
from pipelines.inference.dicom_objects import write_dicom_seg, write_dicom_sr
from pipelines.inference.fhir import write_fhir
from pipelines.inference.inputs import INFO_NAME, Study, StudyImage, StudyKind
from pipelines.inference.segment import StudyOptions, StudyResult, Tools, segment_study
from pipelines.server.images import ServedImage
from pipelines.server.worker import Worker

FORMATS: Final = {
    "pdf": "application/pdf",
    "csv": "text/csv",
    "seg": "application/dicom",
    "sr": "application/dicom",
    "fhir": "application/fhir+json",
}
"""Formats of a report and what they are, for the browser."""

REPORTER: Final = Worker("reports", most_s=120.0, most_bytes=4 * 1024**3)
"""Draws pictures and pages."""

ALGORITHM: Final = "accepted label"

PageWriter = Callable[[StudyResult, Path], Sequence[Path]]
"""Writes a page on a study into a folder, of its files the last as PDF; it travels to another process."""


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image of a study with its accepted label.

    Attributes:
        served: The image.
        label: Existing label map of it.
        root: Studies folder, which no link may leave.
    """

    served: ServedImage
    label: Path
    root: Path


def study_report(
    kind: str, patient: str, images: Sequence[LabelledImage], write_page: PageWriter | None = None
) -> bytes:
    """Content of the report of a study in one of `FORMATS`.

    Args:
        kind: Format. A DICOM SEG is about the first image alone.
        patient: Identifier as the source gives it.
        images: Those that have a label, the one that was asked about first.
        write_page: Writes the page.

    Raises:
        ConfigError: If a package for the format is not there.
        DataError: If the format asks for what the study does not have.
    """
    if kind in ("seg", "sr") and not images[0].served.dicom:
        raise DataError("expected a DICOM series for a DICOM SEG or SR, found an image from another file")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        if kind == "seg":
            path = folder / "seg.dcm"
            mask, title = read_label(images[0].label).array, str(images[0].served.phase or "")
            write_dicom_seg(mask, _slices(images[0]), path, title=title, algorithm=ALGORITHM)
            return path.read_bytes()
        is_page = kind == "pdf"
        result = _measured(patient, images, folder, is_page=is_page)
        if is_page:
            if write_page is None:
                raise ConfigError("expected a server that writes pages, found one started without that")
            return write_page(result, folder)[-1].read_bytes()
        if kind == "sr":
            path = folder / "sr.dcm"
            files = [path for image in images for path in _slices(image)]
            write_dicom_sr(result, files, path, algorithm=ALGORITHM)
            return path.read_bytes()
        if kind == "fhir":
            return write_fhir(result, folder, model=ALGORITHM).read_bytes()
        row = result.as_row() | {"path": None}
        table = io.StringIO()
        writer = csv.DictWriter(table, list(row))
        writer.writeheader()
        writer.writerow(row)
        return table.getvalue().encode("utf-8-sig")


@dataclass(frozen=True, slots=True)
class _Label:
    """What was accepted of a volume, in the place of a prediction."""

    mask: npt.NDArray[np.uint8]


class _Accepted:
    """Finds in each volume what was accepted of it."""

    def __init__(self, images: Sequence[LabelledImage]) -> None:
        self._labels = {image.served.path: image.label for image in images}

    def predict(self, volume: Volume) -> _Label:
        return _Label(read_label(self._labels[volume.path or Path()]).array)


def _measured(patient: str, images: Sequence[LabelledImage], folder: Path, *, is_page: bool) -> StudyResult:
    served = sorted((image.served for image in images), key=lambda one: one.phase is Phase.ES)
    found = tuple(
        StudyImage(one.id, one.path, partial(read_volume, one.path), one.phase, one.frame) for one in served
    )
    study = Study(images[0].served.id, patient, StudyKind.PHASES, found, partial(_facts, images[0]))
    tools = Tools(_Accepted(images), pictures=is_page, options=StudyOptions(page=is_page, is_automatic=False))
    result, faults = segment_study(study, folder, tools)
    if faults:
        raise DataError(faults[0].reason)
    return result


def _facts(image: LabelledImage) -> PatientFacts:
    if image.served.dicom:
        return read_facts(image.served.dicom[0])
    info = (image.served.cine or image.served).path.parent / INFO_NAME
    is_within = info.is_file() and info.resolve().is_relative_to(image.root.resolve())
    return info_facts(info.parent) if is_within else PatientFacts()


def _slices(image: LabelledImage) -> list[Path]:
    """The file of each slice of a frame."""
    groups, _ = order_series(image.served.dicom)
    return [group[(image.served.frame or 1) - 1] for group in groups]
