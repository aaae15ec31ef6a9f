"""The few tags of a DICOM file that tell where it belongs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom
from pydicom.errors import InvalidDicomError
from pydicom.uid import MediaStorageDirectoryStorage

from pipelines.core.errors import DataError

TAGS: Final = [
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "SeriesDescription",
    "NumberOfSeriesRelatedInstances",
    "Rows",
]


@dataclass(frozen=True, slots=True)
class DicomTags:
    """Where a DICOM file belongs.

    Attributes:
        instance: SOPInstanceUID.
        series: SeriesInstanceUID.
        study: StudyInstanceUID.
        modality: As in the file, `""` if it does not say.
        description: SeriesDescription, `""` if there is none.
        instances: NumberOfSeriesRelatedInstances, or None where it is not told.
        is_image: Whether it has pixels.
    """

    instance: str
    series: str
    study: str
    modality: str
    description: str
    instances: int | None
    is_image: bool


def read_tags(path: Path) -> DicomTags:
    """Tags of a DICOM file without its pixels.

    Raises:
        DataError: If it is no DICOM file, is cut off, lacks UIDs, or a number in it is none. A `DICOMDIR`
            lacks them rightly, and is no image.
    """
    try:
        header = pydicom.dcmread(path, stop_before_pixels=True, specific_tags=list(TAGS))
        number = header.get("NumberOfSeriesRelatedInstances")
        instance, series, study, modality, description = (str(header.get(tag) or "") for tag in TAGS[:5])
        instances = None if number is None else int(number)
        storage = header.file_meta.get("MediaStorageSOPClassUID")
        if not (instance and series and study) and storage != MediaStorageDirectoryStorage:
            raise ValueError("it lacks UIDs")
    except (InvalidDicomError, EOFError, OSError, TypeError, ValueError) as error:
        raise DataError(f"expected a readable DICOM file, found {path}: {error}; copy it again") from error
    return DicomTags(instance, series, study, modality, description, instances, "Rows" in header)
