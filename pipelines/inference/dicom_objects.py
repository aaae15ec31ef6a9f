"""DICOM objects of a result: segmentations (SEG) and measurements (SR)."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.sr.coding import Code
from pydicom.uid import EncapsulatedPDFStorage, ExplicitVRLittleEndian, generate_uid

import pipelines
from pipelines.core.cardiac import OF_HEART_RATE, RateSource
from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.install import import_extra
from pipelines.core.records import FOREGROUND, AcdcLabel
from pipelines.core.wall import SEGMENT_NAMES
from pipelines.datasets.dicom_file import read_header
from pipelines.inference.segment import StudyResult

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
    headers = _headers(slices, "SEG")
    if not headers or len(headers) != mask.shape[2]:
        raise DataError(f"expected an image for each of {mask.shape[2]} slices, found {len(headers)}")
    for header, file in zip(headers, slices, strict=True):
        if (size := (int(header.Columns), int(header.Rows))) != mask.shape[:2]:
            raise DataError(f"expected {mask.shape[:2]} pixels in every slice, found {size} in {file}")
    highdicom = load_highdicom()
    uids = [str(header.SOPInstanceUID) for header in headers]
    series = str(headers[0].SeriesInstanceUID)
    sources = ["thorax", series, *uids, hashlib.sha256(mask.tobytes()).hexdigest(), str(number), algorithm]
    instance_uid, series_uid = generate_uid(entropy_srcs=sources), generate_uid(entropy_srcs=sources[:2])
    identification = highdicom.AlgorithmIdentificationSequence(
        name=algorithm, version=pipelines.__version__, family=ARTIFICIAL_INTELLIGENCE
    )
    descriptions = [
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
    try:
        found = highdicom.seg.Segmentation(
            source_images=headers,
            pixel_array=np.ascontiguousarray(mask.transpose(2, 1, 0)),
            segmentation_type=highdicom.seg.SegmentationTypeValues.BINARY,
            segment_descriptions=descriptions,
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
    return import_extra("highdicom", "watch", "highdicom for DICOM SEG", "leave out --seg")


def _headers(slices: Sequence[Path], kind: str) -> list[Any]:
    """Headers of images that an object of this kind can refer to, with empty tags where some may lack."""
    headers = [read_header(file) for file in slices]
    for header, file in zip(headers, slices, strict=True):
        if missing := [tag for tag in NEEDED if not header.get(tag)]:
            raise DataError(f"expected {', '.join(missing)} for a DICOM {kind}, found none in {file}")
        for tag in OFTEN_EMPTY:
            if tag not in header:
                setattr(header, tag, "")
    return headers


CARDIAC_MRI: Final = Code("241620005", "SCT", "Cardiac MRI")
DEVICE: Final = Code("121007", "DCM", "Device")

NAMES: Final = {
    "lv_edv_ml": Code("8821-1", "LN", "Left Ventricular ED Volume"),
    "lv_esv_ml": Code("8823-7", "LN", "Left Ventricular ES Volume"),
    "lv_sv_ml": Code("90096001", "SCT", "Stroke Volume"),
    "lv_ef_percent": Code("8811-2", "LN", "Left ventricular ejection fraction by MR"),
    "myo_mass_ed_g": Code("18087-7", "LN", "Left Ventricle Mass"),
    "rv_edv_ml": Code("8822-9", "LN", "Right Ventricular ED Volume"),
    "rv_esv_ml": Code("8824-5", "LN", "Right Ventricular ES Volume"),
    "rv_sv_ml": Code("429483009", "SCT", "RV Stroke Volume"),
    "rv_ef_percent": Code("8818-7", "LN", "Right ventricular ejection fraction by MR"),
    "heart_rate_bpm": Code("8867-4", "LN", "Heart rate"),
    "lv_sv_ml_m2": Code("277381004", "SCT", "Stroke Index"),
    "rv_sv_ml_m2": Code("429619008", "SCT", "RV Stroke Index"),
    "lv_output_l_min": Code("82799009", "SCT", "Cardiac Output"),
    "lv_cardiac_index_l_min_m2": Code("54993008", "SCT", "Cardiac Index"),
}
"""Codes of the standard by the names of `StudyResult.values`."""

UNITS: Final = {
    "_ml": Code("ml", "UCUM", "ml"),
    "_ml_m2": Code("ml/m2", "UCUM", "ml/m2"),
    "_g": Code("g", "UCUM", "g"),
    "_g_m2": Code("g/m2", "UCUM", "g/m2"),
    "_percent": Code("%", "UCUM", "%"),
    "_mm": Code("mm", "UCUM", "mm"),
    "_ms": Code("ms", "UCUM", "ms"),
    "_m2": Code("m2", "UCUM", "m2"),
    "_bpm": Code("/min", "UCUM", "/min"),
    "_ml_s": Code("ml/s", "UCUM", "ml/s"),
    "_l_min": Code("l/min", "UCUM", "l/min"),
    "_l_min_m2": Code("l/min/m2", "UCUM", "l/min/m2"),
}
"""Units by the ends of names, the longest first to count."""

SCHEME: Final = "99THORAX"


def write_dicom_sr(
    result: StudyResult, slices: Sequence[Path], path: Path, *, algorithm: str = "thorax"
) -> None:
    """Write the figures of a study as a TID 1500 report, in the patient and study of the images.

    The same figures of the same images get the same UIDs.

    Args:
        result: What was measured; what is not known is left out.
        slices: The image files that it was measured on.
        path: File to write.
        algorithm: Name of what made the masks.

    Raises:
        ConfigError: If highdicom is not installed.
        DataError: If the images lack UIDs, or nothing was measured.
        OutputError: If it cannot be written.
    """
    headers = _headers(slices, "SR")
    values = {
        name: value for name, value in (result.values() | result.segments()).items() if value is not None
    }
    if not headers or not values:
        raise DataError(f"expected figures and images for a DICOM SR, found {len(values)} and {len(headers)}")
    highdicom = load_highdicom()
    series = str(headers[0].SeriesInstanceUID)
    sources = ["thorax", "sr", series, algorithm, *(f"{name} {value:.6g}" for name, value in values.items())]
    method = None if result.rate_source is not RateSource.CINE else _own_code(f"rate from {RateSource.CINE}")
    sides: dict[AcdcLabel, dict[str, float]] = {AcdcLabel.LV: {}, AcdcLabel.RV: {}}
    for name, value in values.items():
        sides[AcdcLabel.RV if name.startswith("rv_") else AcdcLabel.LV][name] = value
    try:
        report = highdicom.sr.EnhancedSR(
            evidence=headers,
            content=highdicom.sr.MeasurementReport(
                observation_context=_observer(highdicom, generate_uid(entropy_srcs=sources[:1])),
                procedure_reported=CARDIAC_MRI,
                imaging_measurements=[
                    _group(highdicom, label, found, headers, algorithm, method, result.half_widths)
                    for label, found in sides.items()
                    if found
                ],
            )[0],
            series_instance_uid=generate_uid(entropy_srcs=sources[:3]),
            series_number=SERIES_NUMBER + 1,
            sop_instance_uid=generate_uid(entropy_srcs=[*sources, "1"]),
            instance_number=1,
            manufacturer="Thorax",
            is_complete=True,
            series_description="Measurements",
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise DataError(
            f"expected images that a DICOM SR can refer to, found {slices[0]}: {error}"
        ) from error
    with atomic_path(path) as temporary:
        report.save_as(temporary)


def write_dicom_pdf(pdf: Path, image: Path, path: Path) -> None:
    """Write a page as an encapsulated PDF, in the patient and study of an image.

    The same page of the same image gets the same UIDs.

    Args:
        pdf: Existing PDF file.
        image: One image of the study.
        path: File to write.

    Raises:
        DataError: If the image has no study.
        OutputError: If it cannot be written.

    References:
        DICOM PS3.3 A.45.1, encapsulated PDF.
    """
    header, content = read_header(image), pdf.read_bytes()
    if not header.get("StudyInstanceUID"):
        raise DataError(f"expected StudyInstanceUID for a DICOM PDF, found none in {image}")
    now = {name: str(header.get(f"Study{name}") or "") for name in ("Date", "Time")}
    sources = ["thorax", "pdf", str(header.StudyInstanceUID)]
    report = FileDataset(str(path), {}, preamble=b"\0" * 128, file_meta=FileMetaDataset())
    report.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    report.file_meta.MediaStorageSOPClassUID = report.SOPClassUID = EncapsulatedPDFStorage
    report.SOPInstanceUID = generate_uid(entropy_srcs=[*sources, hashlib.sha256(content).hexdigest()])
    report.file_meta.MediaStorageSOPInstanceUID = report.SOPInstanceUID
    for tag in ("StudyInstanceUID", "SpecificCharacterSet", *OFTEN_EMPTY):
        if tag in header:
            report[tag] = header[tag]
        elif tag in OFTEN_EMPTY:
            setattr(report, tag, "")
    report.SeriesInstanceUID = generate_uid(entropy_srcs=sources)
    report.SeriesNumber, report.InstanceNumber = SERIES_NUMBER + 2, 1
    report.Modality, report.ConversionType, report.BurnedInAnnotation = "DOC", "WSD", "YES"
    report.Manufacturer, report.SoftwareVersions = "Thorax", pipelines.__version__
    report.ReferringPhysicianName, report.AcquisitionDateTime = "", ""
    report.ContentDate, report.ContentTime = now["Date"], now["Time"]
    report.SeriesDescription = report.DocumentTitle = "Page of the study"
    report.ConceptNameCodeSequence = []
    report.MIMETypeOfEncapsulatedDocument = "application/pdf"
    report.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    report.EncapsulatedDocumentLength = len(content)
    with atomic_path(path) as temporary:
        report.save_as(temporary, write_like_original=False)


def _observer(highdicom: Any, uid: str) -> Any:
    device = highdicom.sr.DeviceObserverIdentifyingAttributes(
        uid=uid, name="Thorax", manufacturer_name="Thorax", model_name=pipelines.__version__
    )
    context = highdicom.sr.ObserverContext(observer_type=DEVICE, observer_identifying_attributes=device)
    return highdicom.sr.ObservationContext(observer_device_context=context)


def _group(
    highdicom: Any,
    label: AcdcLabel,
    values: Mapping[str, float],
    headers: Sequence[Any],
    algorithm: str,
    method: Code | None,
    half_widths: Mapping[str, float],
) -> Any:
    """The measurements of one ventricle; the method tells where the heart rate is derived."""
    return highdicom.sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=highdicom.sr.TrackingIdentifier(
            uid=generate_uid(entropy_srcs=["thorax", str(headers[0].SeriesInstanceUID), label.name]),
            identifier=label.name,
        ),
        algorithm_id=highdicom.sr.AlgorithmIdentification(algorithm, pipelines.__version__),
        finding_sites=[highdicom.sr.FindingSite(STRUCTURES[label])],
        source_images=[
            highdicom.sr.SourceImageForMeasurementGroup(str(one.SOPClassUID), str(one.SOPInstanceUID))
            for one in headers
        ],
        measurements=[
            highdicom.sr.Measurement(
                name=_name(name),
                value=float(np.round(value, 3)),
                unit=unit_of(name),
                method=method if name in OF_HEART_RATE else None,
                properties=_uncertainty(highdicom, half_widths.get(name)),
            )
            for name, value in values.items()
        ],
    )


def _uncertainty(highdicom: Any, half: float | None) -> Any:
    """The interval of a value, in its unit."""
    if half is None:
        return None
    half = float(np.round(half, 3))
    return highdicom.sr.MeasurementProperties(
        upper_measurement_uncertainty=half, lower_measurement_uncertainty=half
    )


def _name(name: str) -> Code:
    """The standard's code of a value, else one of our own whose meaning names the segment."""
    if name in NAMES:
        return NAMES[name]
    kind, _, segment = name.rpartition("_")
    meaning = f"{kind} {SEGMENT_NAMES[int(segment) - 1]}" if segment.isdigit() else name
    return _own_code(name, meaning)


def _own_code(name: str, meaning: str | None = None) -> Code:
    # A code value holds at most 16 characters.
    digest = generate_uid(prefix=None, entropy_srcs=["thorax", name])[-15:]
    return Code(f"T{digest}", SCHEME, meaning or name)


def unit_of(name: str) -> Code:
    """Unit of a value in UCUM, by the end of its name."""
    whole = name.rpartition("_")[0] if name[-2:].isdigit() and name[-3] == "_" else name
    return UNITS[max((end for end in UNITS if whole.endswith(end)), key=len)]
