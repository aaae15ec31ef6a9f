"""DICOM files and the series that they make up."""

import math
import re
import struct
import tempfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from pipelines.core.cardiac import PatientFacts, Sex
from pipelines.core.errors import DataError
from pipelines.core.records import Problem

UNREADABLE: Final = (
    AttributeError,
    BytesLengthException,
    EOFError,
    IndexError,
    InvalidDicomError,
    KeyError,
    MemoryError,
    NotImplementedError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""What pydicom raises for damaged files, and for tags of another kind than the standard wants."""

WITHOUT_PYDICOM: Final = {
    "1.2.840.10008.1.2.4.51": "JPEG Extended",
    "1.2.840.10008.1.2.4.57": "JPEG Lossless",
    "1.2.840.10008.1.2.4.70": "JPEG Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
}
"""Transfer syntaxes that SimpleITK decodes, since pydicom needs further packages for them."""

UNCOMPRESSED: Final = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian)

PIXEL_TAGS: Final = (
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
)
"""Tags that tell how pixels are encoded."""

MAX_PIXELS: Final = 2**27
"""Pixels of the largest file that is decoded; 12 slices with 50 frames of 400 x 400 have 96 million."""

PHASE_VALUES: Final = ("P", "PHASE", "PHASE MAP", "VELOCITY MAP", "P_FFE", "P_PCA", "P_SE", "P_IR")
"""Values of ImageType, from the third on, for pixels that are phases or velocities and no magnitudes."""

COMPLEX_PARTS: Final = {0: "MAGNITUDE", 1: "PHASE", 2: "REAL", 3: "IMAGINARY"}
"""Meaning of GE's private tag (0043,102F)."""

AGE_UNITS: Final = {"Y": 1.0, "M": 12.0, "W": 52.18, "D": 365.25}
"""Units of PatientAge, and how many of each are a year."""

_AGE: Final = re.compile(r"(\d{3})([YMWD])")

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class DicomImage:
    """One slice at one time: a file, or a frame of a multi-frame file.

    Attributes:
        path: Its file.
        index: 0-based frame in its file.
        is_multi_frame: Whether its file has functional groups for many frames.
        subject: PatientID, PatientName, PatientBirthDate and PatientSex, `""` for each that is absent.
        study: StudyInstanceUID, or `""`.
        series: SeriesInstanceUID, or `""`.
        instance: SOPInstanceUID, or `""`.
        series_number: SeriesNumber, or None.
        description: SeriesDescription, or `""`.
        modality: Modality, or `""`.
        body_part: BodyPartExamined, or `""`.
        kind: ImageType from its third value on, with the part of a complex image where it is told.
        echo_ms: EchoTime in ms, or None.
        inversion_ms: InversionTime in ms, or None.
        size: Columns and rows in pixels.
        position_mm: Centre of the first pixel (LPS), `(3,)`, NaN if absent.
        directions: Along a row and down a column (LPS), `(2, 3)`, NaN if absent.
        spacing_mm: Between columns and between rows, NaN if absent.
        thickness_mm: SpacingBetweenSlices, else SliceThickness, None if absent.
        times: What may order frames, by tag: TriggerTime in ms, AcquisitionTime and ContentTime in
            seconds, and counts; only those that are there.
        slope: Rescale slope.
        intercept: Rescale intercept.
    """

    path: Path
    index: int
    is_multi_frame: bool
    subject: tuple[str, ...]
    study: str
    series: str
    instance: str
    series_number: int | None
    description: str
    modality: str
    body_part: str
    kind: tuple[str, ...]
    echo_ms: float | None
    inversion_ms: float | None
    size: tuple[int, int]
    position_mm: Floats
    directions: Floats
    spacing_mm: tuple[float, float]
    thickness_mm: float | None
    times: Mapping[str, float]
    slope: float
    intercept: float

    @property
    def normal(self) -> Floats:
        """Direction across the slice (LPS), of length 1 if the others are sound; NaN if absent."""
        return np.cross(self.directions[0], self.directions[1])

    @property
    def is_phase(self) -> bool:
        """Whether its pixels are phases or velocities."""
        return any(value in PHASE_VALUES for value in self.kind)


def is_dicom(path: Path) -> bool:
    """Whether a file begins as DICOM does: with `DICM` after 128 bytes, or at once with its first tags."""
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
    except OSError:
        return False
    return start[128:] == b"DICM" or _begins_with_tags(start)


def read_dataset(path: Path, *, pixels: bool = True) -> Any:
    """All tags of a DICOM file, which need no meta header, with or without the pixels.

    Raises:
        DataError: If it is no DICOM file or is cut off.
    """
    try:
        with path.open("rb") as stream:
            start = stream.read(132)
            is_bare = _begins_with_tags(start)
            if not is_bare and start[128:] != b"DICM":
                raise InvalidDicomError("it does not begin as DICOM does" if start else "it is empty")
            stream.seek(0)
            dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=is_bare)
            dataset.pixels_begin = stream.tell()
        if is_bare and "SOPClassUID" not in dataset and "Rows" not in dataset:
            raise InvalidDicomError("it has neither a meta header nor an image's tags")
        if "TransferSyntaxUID" not in dataset.file_meta:
            explicit = ExplicitVRLittleEndian if dataset.is_little_endian else ExplicitVRBigEndian
            dataset.file_meta.TransferSyntaxUID = (
                ImplicitVRLittleEndian if dataset.is_implicit_VR else explicit
            )
    except UNREADABLE as error:
        raise DataError(f"expected a readable DICOM file, found {path}: {error}; copy it again") from error
    return dataset


def read_header(path: Path) -> Any:
    """DICOM tags of a file without its pixels.

    Raises:
        DataError: If it is no DICOM file or is cut off.
    """
    return read_dataset(path, pixels=False)


def read_facts(path: Path) -> PatientFacts:
    """What a file tells of its patient: body, sex, age, heart rate and day; what it cannot tell is None.

    The heart rate is HeartRate, else that of NominalInterval. The age is PatientAge, else the time from
    PatientBirthDate to StudyDate.

    Raises:
        DataError: If it is no DICOM file or is cut off.

    References:
        DICOM PS3.3 C.7.2.2 (patient study, height in m, weight in kg) and C.8.3.1 (MR image, interval in ms).
    """
    header = read_header(path)

    def number(tag: str) -> float | None:
        try:
            value = float(header.get(tag))
        except UNREADABLE:
            return None
        return value if math.isfinite(value) and value > 0 else None

    def text(tag: str) -> str:
        try:
            return str(header.get(tag) or "")
        except UNREADABLE:
            return ""

    height_m, interval_ms = number("PatientSize"), number("NominalInterval")
    study, birth = _day(text("StudyDate")), _day(text("PatientBirthDate"))
    age = _AGE.fullmatch(text("PatientAge"))
    years = int(age[1]) / AGE_UNITS[age[2]] if age else None
    tesla = number("MagneticFieldStrength")
    scanner = [text("Manufacturer"), text("ManufacturerModelName"), f"{tesla:g} T" if tesla else ""]
    if years is None and study and birth and study >= birth:
        years = (study - birth).days / AGE_UNITS["D"]
    return PatientFacts(
        height_cm=100 * height_m if height_m else None,
        weight_kg=number("PatientWeight"),
        sex=Sex(text("PatientSex")) if text("PatientSex") in list(Sex) else None,
        age_years=years,
        heart_rate_bpm=number("HeartRate") or (60_000 / interval_ms if interval_ms else None),
        study_date=study.isoformat() if study else "",
        scanner=" ".join(filter(None, scanner)),
    )


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text, "%Y%m%d").date()
    except ValueError:
        return None


def has_image(header: Any, path: Path) -> bool:
    """Whether a file is an image, and no report, index of a disc or the like.

    Args:
        header: As from `read_header`.
        path: Its file, for messages.

    Raises:
        DataError: If it should be an image and ends before it.
    """
    if "Rows" in header:
        return True
    meta = header.file_meta.get("MediaStorageSOPClassUID")
    storage = UID(str(meta if meta == MediaStorageDirectoryStorage else header.get("SOPClassUID") or ""))
    if not storage or "Image Storage" in storage.name:
        raise DataError(f"expected a whole DICOM file, found no image in {path}; copy it again")
    return False


def read_images(path: Path) -> list[DicomImage]:
    """The images of a file: one, those of an enhanced multi-frame file, or none in a report or index.

    Raises:
        DataError: If it cannot be read, a number in it is none, it is in colour, a segmentation, or has
            frames without functional groups.
    """
    header = read_header(path)
    try:
        if not has_image(header, path):
            return []
        frames = int(header.get("NumberOfFrames") or 1)
        if str(header.get("Modality", "")) == "SEG":
            raise DataError(f"expected an image, found a DICOM segmentation in {path}")
        if int(header.get("SamplesPerPixel") or 1) != 1:
            raise DataError(
                f"expected a grey image, found {header.SamplesPerPixel} samples a pixel in {path}"
            )
        groups = header.get("PerFrameFunctionalGroupsSequence") or []
        if frames != 1 and len(groups) != frames:
            raise DataError(
                f"expected one image a file, or a position for each, found {frames} frames and the positions "
                f"of {len(groups)} in {path}; convert it to NIfTI (dcm2niix) first"
            )
        whole = frames * int(header.Rows) * int(header.Columns) * int(header.get("BitsAllocated") or 8) // 8
        is_plain = header.file_meta.TransferSyntaxUID in UNCOMPRESSED
        if is_plain and path.stat().st_size < header.pixels_begin + whole:
            raise DataError(
                f"expected {whole} bytes that can be decoded, found fewer in {path}; copy it again"
            )
        shared = (header.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
        return [_image(header, shared, group, index, path) for index, group in enumerate(groups or [None])]
    except UNREADABLE as error:
        raise DataError(f"expected tags as in the standard in {path}, found others: {error}") from error


def decode(dataset: Any, path: Path) -> npt.NDArray[Any]:
    """Stored values of a grey file, `(frames, rows, columns)`, before any rescaling.

    Args:
        dataset: As from `read_dataset`.
        path: Its file, for messages.

    Raises:
        DataError: If they cannot be decoded.
    """
    try:
        shape = (int(dataset.get("NumberOfFrames") or 1), int(dataset.Rows), int(dataset.Columns))
        if not 0 < math.prod(shape) <= MAX_PIXELS:
            raise ValueError(f"it has {math.prod(shape)} pixels, of 1 to {MAX_PIXELS}")
        if str(dataset.file_meta.TransferSyntaxUID) in WITHOUT_PYDICOM:
            return _decoded_by_simpleitk(dataset).reshape(shape)
        stored = np.asarray(dataset.pixel_array).reshape(shape)
        unused = int(dataset.BitsAllocated) - int(dataset.BitsStored)
        # Of old files, the bits above the pixels may hold drawings, of groups without data of their own.
        groups = range(0x6000, 0x6020, 2)
        is_drawn = any((one, 0x0102) in dataset and (one, 0x3000) not in dataset for one in groups)
        is_above = int(dataset.get("HighBit", dataset.BitsStored - 1)) + 1 == int(dataset.BitsStored)
        return stored << unused >> unused if is_drawn and is_above and unused else stored
    except UNREADABLE as error:
        raise DataError(
            f"expected pixel data that can be decoded, found {path}: {error}; copy it again or decompress it"
        ) from error


def padding_of(stored: npt.NDArray[Any], dataset: Any) -> npt.NDArray[np.bool_] | None:
    """Where stored values of a file are a value for padding, or one in a range of them; None for nowhere."""
    value, limit = dataset.get("PixelPaddingValue"), dataset.get("PixelPaddingRangeLimit")
    try:
        ends = [int(value), int(value if limit is None else limit)]
    except (TypeError, ValueError):  # none, text or several values, which say nothing of the pixels
        return None
    # Writers give the value as signed or unsigned of its 16 bits.
    low, high = sorted(np.array(ends).astype(stored.dtype).tolist())
    padding: npt.NDArray[np.bool_] = (stored >= low) & (stored <= high)
    return padding if padding.any() and not padding.all() else None


def _begins_with_tags(start: bytes) -> bool:
    """Whether the first element of a file is one of group 2 or 8 with a short value, in little endian."""
    if len(start) < 8 or start[128:132] == b"DICM":
        return False
    group, element, length = struct.unpack("<HHI", start[:8])
    if start[4:6].isalpha() and start[4:6].isupper():
        length = struct.unpack("<H", start[6:8])[0]
    return group in (0x0002, 0x0008) and element < 0x0100 and length < 1024


def _decoded_by_simpleitk(dataset: Any) -> npt.NDArray[Any]:
    import SimpleITK as sitk

    # A file with nothing but the pixels: SimpleITK would apply the rescaling, and reads no more than it must.
    bare = Dataset()
    for tag in PIXEL_TAGS:
        if tag in dataset:
            setattr(bare, tag, dataset.get(tag))
    bare.SOPClassUID, bare.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.7", "1.2.3"
    bare.PixelData = dataset.PixelData
    bare["PixelData"].is_undefined_length = True
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "pixels.dcm"
        meta = pydicom.dataset.FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = bare.SOPClassUID, bare.SOPInstanceUID
        meta.TransferSyntaxUID = dataset.file_meta.TransferSyntaxUID
        whole = FileDataset(str(file), bare, preamble=b"\0" * 128, file_meta=meta)
        whole.is_little_endian, whole.is_implicit_VR = True, False
        pydicom.dcmwrite(file, whole)
        reader = sitk.ImageFileReader()
        reader.SetImageIO("GDCMImageIO")
        reader.SetFileName(str(file))
        sitk.ProcessObject.SetGlobalWarningDisplay(False)  # of tags that a bare file lacks
        found: npt.NDArray[Any] = sitk.GetArrayFromImage(reader.Execute())
    return found


def _image(header: Any, shared: Any, group: Any, index: int, path: Path) -> DicomImage:
    def find(tag: str, *sequences: str) -> Any:
        """A tag of the frame, else of all frames, else of the file."""
        for place in (group, shared):
            for sequence in sequences:
                items = place.get(sequence) if place is not None else None
                if items and items[0].get(tag) is not None:
                    return items[0].get(tag)
        return header.get(tag)

    def find_or_none(tag: str, *sequences: str) -> Any:
        """The same for a tag that can be done without: None if it cannot be read."""
        try:
            return find(tag, *sequences)
        except UNREADABLE:
            return None

    measures = "PixelMeasuresSequence"
    spacing = _numbers(find, "PixelSpacing", 2, path, measures)
    cosines = _numbers(find, "ImageOrientationPatient", 6, path, "PlaneOrientationSequence")
    number = _count(find_or_none("InstanceNumber"))
    part = header.get((0x0043, 0x102F))
    kind = [
        str(value).strip() for value in _values(find_or_none("FrameType", "MRImageFrameTypeSequence"))[2:]
    ]
    kind = kind or [str(value).strip() for value in _values(find_or_none("ImageType"))[2:]]
    for value in (
        find_or_none("ComplexImageComponent", "MRImageFrameTypeSequence"),
        COMPLEX_PARTS.get(part.value) if part is not None and isinstance(part.value, int) else None,
    ):
        kind += [str(value)] if value else []
    transformation = "PixelValueTransformationSequence"
    return DicomImage(
        path=path,
        index=index,
        is_multi_frame=group is not None,
        subject=tuple(
            str(find_or_none(tag) or "").strip().strip("^")
            for tag in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex")
        ),
        study=str(find_or_none("StudyInstanceUID") or ""),
        series=str(find_or_none("SeriesInstanceUID") or ""),
        instance=str(find_or_none("SOPInstanceUID") or ""),
        series_number=_count(find_or_none("SeriesNumber")),
        description=str(find_or_none("SeriesDescription") or ""),
        modality=str(find_or_none("Modality") or ""),
        body_part=str(find_or_none("BodyPartExamined") or ""),
        kind=tuple(kind),
        echo_ms=_number(find_or_none("EffectiveEchoTime", "MREchoSequence"))
        or _number(find_or_none("EchoTime")),
        inversion_ms=_number(find_or_none("InversionTime")),
        size=(int(header.Columns), int(header.Rows)),
        position_mm=_numbers(find, "ImagePositionPatient", 3, path, "PlanePositionSequence"),
        directions=cosines.reshape(2, 3),
        spacing_mm=(float(spacing[1]), float(spacing[0])),
        thickness_mm=_number(find_or_none("SpacingBetweenSlices", measures))
        or _number(find_or_none("SliceThickness", measures)),
        times=_times(find_or_none, number, index),
        slope=_number(find_or_none("RescaleSlope", transformation)) or 1.0,
        intercept=_number(find_or_none("RescaleIntercept", transformation)) or 0.0,
    )


def _times(find: Callable[..., Any], number: int | None, index: int) -> dict[str, float]:
    heart, content = "CardiacSynchronizationSequence", "FrameContentSequence"
    trigger = [
        _number(find(tag, heart, content))
        for tag in ("NominalCardiacTriggerDelayTime", "ActualCardiacTriggerDelayTime", "TriggerTime")
    ]
    date = find("AcquisitionDate")
    times = {
        "TriggerTime": next((time for time in trigger if time is not None), None),
        "TemporalPositionIdentifier": _number(
            find("TemporalPositionIndex", content) or find("TemporalPositionIdentifier")
        ),
        "AcquisitionTime": _seconds(find("FrameAcquisitionDateTime", content))
        or _seconds(find("AcquisitionDateTime"))
        or _seconds(find("AcquisitionTime"), date),
        "ContentTime": _seconds(find("ContentTime"), find("ContentDate")),
        # Frames of a file come after each other, and before those of the next file.
        "InstanceNumber": None if number is None else number + index / 1e6,
        "AcquisitionNumber": _number(find("AcquisitionNumber")),
    }
    return {tag: time for tag, time in times.items() if time is not None}


def _numbers(find: Callable[..., Any], tag: str, length: int, path: Path, sequence: str) -> Floats:
    try:
        value = find(tag, sequence)
        if value is None or len(_values(value)) != length:
            return np.full(length, np.nan)
        found = np.array([float(number) for number in _values(value)])
        if not np.isfinite(found).all():
            raise ValueError(f"{value} is not finite")
    except (TypeError, ValueError) as error:
        raise DataError(f"expected numbers in {tag} of {path}, found others: {error}") from error
    return found


def _values(value: Any) -> list[Any]:
    if value is None:
        return []
    return [value] if isinstance(value, str) or not hasattr(value, "__len__") else list(value)


def _number(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None


def _count(value: Any) -> int | None:
    number = _number(value)
    return None if number is None else int(number)


def _seconds(time: Any, date: Any = None) -> float | None:
    """Seconds from a fixed day for `HHMMSS.ffffff` with its date, or for `YYYYMMDDHHMMSS.ffffff`."""
    whole, _, fraction = str(time or "").partition(".")
    digits = whole if len(whole) == 14 else str(date or "").replace(".", "")[:8].rjust(8, "0") + whole
    if not (digits.isdigit() and len(digits) == 14):
        return None
    fraction = "".join(character for character in fraction[:6] if character.isdigit())
    days = (int(digits[:4]) * 12 + int(digits[4:6])) * 31 + int(digits[6:8])
    return (
        days * 86400.0
        + int(digits[8:10]) * 3600
        + int(digits[10:12]) * 60
        + int(digits[12:14])
        + float(f"0.{fraction or 0}")
    )


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
