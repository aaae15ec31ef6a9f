"""A label map as a DICOM segmentation (SEG) that refers to the slices it was made from.

References:
    DICOM PS3.3 A.51, segmentation IOD,
    https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_A.51.html
    DICOM PS3.16 CID 7150 (categories) and CID 3 (anatomy), for the SNOMED CT codes.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

import pipelines
from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.install import missing_extra
from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.datasets.dicom_file import read_header

ANATOMY: Final = Code("123037004", "SCT", "Anatomical Structure")
STRUCTURES: Final = {
    AcdcLabel.RV: Code("53085002", "SCT", "Right ventricle"),
    AcdcLabel.MYO: Code("49848007", "SCT", "Myocardium of left ventricle"),
    AcdcLabel.LV: Code("87878005", "SCT", "Left ventricle"),
}
ARTIFICIAL_INTELLIGENCE: Final = Code("123110", "DCM", "Artificial Intelligence")

SERIES_NUMBER: Final = 9000
"""Of the first segmentation; viewers list it after the images."""

OFTEN_EMPTY: Final = (
    "PatientID",
    "PatientName",
    "PatientBirthDate",
    "PatientSex",
    "AccessionNumber",
    "StudyID",
    "StudyDate",
    "StudyTime",
)
"""Tags that a segmentation repeats and that anonymised images may lack; they may be empty."""

NEEDED: Final = (
    "FrameOfReferenceUID",
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "StudyInstanceUID",
)


def write_dicom_seg(
    mask: npt.NDArray[np.uint8],
    slices: Sequence[Path],
    path: Path,
    *,
    number: int = 1,
    title: str = "",
    algorithm: str = "thorax",
) -> None:
    """Write one segment for each structure, in the patient and study of the images.

    The same mask of the same images gets the same UIDs, so that a server that has it stores no second one.

    Args:
        mask: `(X, Y, Z)` uint8 label map with values from `AcdcLabel`, on the grid of `read_series`.
        slices: The image file of each of the Z slices, from the lowest, all of one frame.
        path: File to write.
        number: InstanceNumber, from 1.
        title: For people, e.g. `"ED"`; at most 64 characters.
        algorithm: Name of what made the mask.

    Raises:
        ConfigError: If highdicom is not installed.
        DataError: If the images are of another number or size, or lack UIDs or the frame of reference.
        OutputError: If it cannot be written.
    """
    headers = [read_header(file) for file in slices]
    _check(mask, headers, slices)
    highdicom = load_highdicom()
    uids = [str(header.SOPInstanceUID) for header in headers]
    series = str(headers[0].SeriesInstanceUID)
    sources = ["thorax", series, *uids, hashlib.sha256(mask.tobytes()).hexdigest(), str(number), algorithm]
    instance_uid, series_uid = generate_uid(entropy_srcs=sources), generate_uid(entropy_srcs=sources[:2])
    try:
        found = highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=np.ascontiguousarray(mask.transpose(2, 1, 0)),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=_descriptions(highdicom, algorithm),
            series_instance_uid=series_uid,
            series_number=SERIES_NUMBER,
            sop_instance_uid=instance_uid,
            instance_number=number,
            manufacturer="Thorax",
            manufacturer_model_name=algorithm,
            software_versions=pipelines.__version__,
            device_serial_number="none",
            content_description=title or None,
            series_description=f"Segmentation {title}".strip(),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"expected images that a DICOM SEG can refer to, found {slices[0]}: {error}"
        ) from error
    with atomic_path(path) as temporary:
        found.save_as(temporary)


def load_highdicom() -> Any:
    """The `highdicom` package.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import highdicom
    except ImportError as error:
        raise missing_extra("highdicom for DICOM SEG", "watch", error, "leave out --seg") from error
    return highdicom


def _check(mask: npt.NDArray[np.uint8], headers: list[Any], slices: Sequence[Path]) -> None:
    if not headers or len(headers) != mask.shape[2]:
        raise DataError(f"expected an image for each of {mask.shape[2]} slices, found {len(headers)}")
    for header, file in zip(headers, slices, strict=True):
        size = (int(header.Columns), int(header.Rows))
        if size != mask.shape[:2]:
            raise DataError(f"expected {mask.shape[:2]} pixels in every slice, found {size} in {file}")
        missing = [tag for tag in NEEDED if not header.get(tag)]
        if missing:
            raise DataError(f"expected {', '.join(missing)} for a DICOM SEG, found none in {file}")
        for tag in OFTEN_EMPTY:
            if tag not in header:
                setattr(header, tag, "")


def _descriptions(highdicom: Any, algorithm: str) -> list[Any]:
    identification = highdicom.AlgorithmIdentificationSequence(
        name=algorithm, version=pipelines.__version__, family=ARTIFICIAL_INTELLIGENCE
    )
    return [
        highdicom.seg.SegmentDescription(
            segment_number=int(label),
            segment_label=label.name,
            segmented_property_category=ANATOMY,
            segmented_property_type=STRUCTURES[label],
            algorithm_type=highdicom.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
            algorithm_identification=identification,
        )
        for label in FOREGROUND
    ]
