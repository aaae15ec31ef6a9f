"""The few tags of a DICOM file that tell where it belongs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.core.errors import DataError
from pipelines.datasets.dicom_file import UNREADABLE, has_image, read_header
from pipelines.watching.identity import printable

TEXT_TAGS: Final = (
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
    "Modality",
    "SeriesDescription",
)


@dataclass(frozen=True, slots=True)
class DicomTags:
    """Where a DICOM file belongs.

    Attributes:
        instance: SOPInstanceUID, or the file's path where it has none.
        series: SeriesInstanceUID, or the folder's path where it has none.
        study: StudyInstanceUID, or the folder's path where it has none.
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
        DataError: If it is no DICOM file, is cut off, or NumberOfSeriesRelatedInstances is none.
    """
    header = read_header(path)
    try:
        number = header.get("NumberOfSeriesRelatedInstances")
        instance, series, study, modality, description = (str(header.get(tag) or "") for tag in TEXT_TAGS)
        is_image = has_image(header, path)
        instances = None if number is None else int(number)
    except UNREADABLE as error:
        raise DataError(f"expected tags as in the standard in {path}, found others: {error}") from error
    # An anonymiser may take all UIDs away; files of one folder then belong together.
    folder = printable(str(path.parent))
    return DicomTags(
        instance or printable(str(path)),
        series or folder,
        study or folder,
        modality,
        description,
        instances,
        is_image,
    )
