"""Radiographs: reading of pictures and DICOM, and doubts whether one is a frontal chest film."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError
from pydicom.pixel_data_handlers.util import apply_modality_lut, apply_voi_lut

from pipelines.core.errors import DataError
from pipelines.core.records import Problem
from pipelines.datasets.dicom_file import UNREADABLE, decode, is_dicom, padding_of, read_dataset

SUFFIXES: Final = (".jpeg", ".jpg", ".png", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom")
"""File names, in lower case, that are taken for radiographs."""

FORMATS: Final = ("JPEG", "PNG", "TIFF", "BMP", "WEBP")
"""Formats of pictures, as Pillow names them."""

MIN_PX: Final = 32
"""Shortest side of an image that can be a radiograph, pixels."""

MAX_COLOUR: Final = 0.05
"""Mean range of red, green and blue from which a picture is a colour photograph."""

LEVELS: Final = 1000
"""Steps of equally many pixels in which the distribution of the grey values is looked at."""

MARKER_SHARE: Final = 0.1
"""Largest share of the pixels that markers and burnt-in text take."""

BORDER_SHARE: Final = 0.7
"""Largest share of the pixels that a border of one value takes."""

BORDER_NOISE: Final = 0.02
"""Largest difference of values in a border, as a share of the film's range."""

GAP: Final = 0.25
"""Gap between grey values, as a share of the range inside of it, beyond which there is no film."""

XRAY_MODALITIES: Final = ("CR", "DX", "RG")
"""DICOM modalities of radiographs: computed, digital, and radiographic imaging."""

FRONTAL_VIEWS: Final = ("AP", "PA", "AP/PA", "PA/AP", "ANTERO-POSTERIOR", "POSTERO-ANTERIOR")
"""Values of ViewPosition for frontal films."""

SIDE_VIEW: Final = re.compile(r"\b(lat|laterale?|profil|seitlich)\b", re.IGNORECASE)
FRONT_VIEW: Final = re.compile(r"\b(ap|pa|frontal|antero|postero)\b", re.IGNORECASE)
"""Words of a side view and of a frontal one, in codes and descriptions."""

CAMERA_TAGS: Final = (0x010F, 0x0110)
"""EXIF tags of a camera: make and model."""

ORIENTATION_TAG: Final = 0x0112
PHOTOMETRIC_TAG: Final = 262
"""TIFF tag that is 0 where white is the smallest value."""

Grey = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class XrayImage:
    """A radiograph as grey values.

    Attributes:
        pixels: `(H, W)` float32, 0 black to 1 white; bone is bright.
        mode: Pixel format of the file, as Pillow names it, or `"DICOM"`.
        colourfulness: Mean range of red, green and blue in a pixel, 0 for grey to 1.
        doubts: Warnings of what the file says of itself: another view, a camera.
    """

    pixels: Grey
    mode: str
    colourfulness: float
    doubts: tuple[str, ...] = ()


def read_xray(path: Path) -> XrayImage:
    """Grey values of a picture or a DICOM file, as a viewer shows it.

    8-bit pictures keep their scale; those with more bits, and DICOM, are stretched over the grey
    values of the film, since few of them use the whole range: padding, markers and borders beyond
    a gap do not count. The orientation in EXIF is applied.

    Args:
        path: Existing file; its content decides, not its name.

    Raises:
        DataError: If it is no readable still image, has more than one frame, or is too small.
    """
    try:
        image = _read_dicom(path) if is_dicom(path) else _read_picture(path)
    except (*UNREADABLE, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"expected a whole JPEG, PNG or DICOM image, found {path}: {error}") from error
    height, width = image.pixels.shape
    if min(height, width) < MIN_PX:
        raise DataError(
            f"expected a radiograph of at least {MIN_PX} x {MIN_PX} pixels, "
            f"found {width} x {height} in {path}"
        )
    return image


def _read_picture(path: Path) -> XrayImage:
    try:
        opened = Image.open(path)
    except UnidentifiedImageError:
        raise ValueError("its content is none of them") from None
    with opened as picture:
        frames = getattr(picture, "n_frames", 1)
        if frames != 1 and picture.format != "MPO":  # cameras add a preview as a second frame
            raise ValueError(f"it has {frames} frames; give one still image")
        is_turned = picture.format == "TIFF" and picture.getexif().get(ORIENTATION_TAG, 1) > 4
        if is_turned and any(tile[0] == "raw" for tile in opened.tile):  # Pillow would garble it
            raise ValueError("its orientation tag turns it by 90 degrees; save it upright")
        picture.load()
        mode, exif = picture.mode, picture.getexif()
        doubts: tuple[str, ...] = ()
        if any(exif.get(tag) for tag in CAMERA_TAGS):
            camera = " ".join(str(exif.get(tag, "")).strip() for tag in CAMERA_TAGS).strip()
            doubts = (f"it was taken by a camera or scanner ({camera}): a photograph of a film?",)
        is_white_least = picture.format == "TIFF" and getattr(picture, "tag_v2", {}).get(PHOTOMETRIC_TAG) == 0
        upright = ImageOps.exif_transpose(picture)
        if mode.startswith(("I", "F")):
            pixels = _stretched(np.asarray(upright, dtype=np.float32))
            return XrayImage(1 - pixels if is_white_least else pixels, mode, 0.0, doubts)
        rgb = upright.convert("RGB")
        colour = np.asarray(rgb, dtype=np.float32) / 255
        grey = np.asarray(rgb.convert("L"), dtype=np.float32) / np.float32(255)
    return XrayImage(grey, mode, float(np.ptp(colour, axis=2).mean()), doubts)


def _read_dicom(path: Path) -> XrayImage:
    dataset = read_dataset(path)
    if "PixelData" not in dataset:
        raise ValueError("it has no pixels")
    frames = int(dataset.get("NumberOfFrames") or 1)
    if frames != 1:
        raise ValueError(f"it has {frames} frames; give one still image")
    if int(dataset.get("SamplesPerPixel") or 1) != 1:
        raise ValueError(f"its pixels are {dataset.PhotometricInterpretation}; give a grey one")
    (stored,) = decode(dataset, path)
    values = apply_modality_lut(stored, dataset)
    with suppress(*UNREADABLE):  # a window without width counts as none
        values = apply_voi_lut(values, dataset)
    padding = padding_of(stored, dataset)
    is_film = None if padding is None else ~padding
    pixels = _stretched(np.asarray(values, dtype=np.float32), is_film=is_film)
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 1 - pixels
    if padding is not None:
        pixels[padding] = 0
    return XrayImage(pixels, "DICOM", 0.0, tuple(_doubts(dataset)))


def _doubts(dataset: Any) -> Iterator[str]:
    """Warnings of tags that tell of another image than an upright frontal chest radiograph."""
    modality = str(dataset.get("Modality") or "")
    if modality not in (*XRAY_MODALITIES, ""):
        yield f"its modality is {modality}: not a radiograph?"
    view = str(dataset.get("ViewPosition") or "").strip().upper()
    if view and view not in FRONTAL_VIEWS:
        yield f"its view is {view}: not a frontal chest radiograph?"
    texts = [str(dataset.get("SeriesDescription") or ""), *_meanings(dataset, "ViewCodeSequence")]
    for text in texts if not view else ():
        if SIDE_VIEW.search(text) and not FRONT_VIEW.search(text):
            yield f"its view is {text}: not a frontal chest radiograph?"
    regions = _meanings(dataset, "AnatomicRegionSequence")
    part = (str(dataset.get("BodyPartExamined") or "").strip() or " ".join(regions)).upper()
    if part and not any(word in part for word in ("CHEST", "THORAX", "LUNG", "RIB")):
        yield f"its body part is {part}: not a chest?"
    directions = dataset.get("PatientOrientation") or ""
    if not isinstance(directions, str) and len(directions) == 2:
        row, column = (str(direction)[:1] for direction in directions)
        if row in ("A", "P") or column in ("A", "P"):
            yield "its rows or columns run from front to back: a lateral view?"
        elif column not in ("F", "") or row not in ("L", ""):
            yield f"its directions are {row} and {column}, of an upright film L and F: turned or mirrored?"


def _meanings(dataset: Any, sequence: str) -> list[str]:
    """Meanings of the codes of a sequence."""
    return [str(getattr(item, "CodeMeaning", "")) for item in dataset.get(sequence) or []]


def _stretched(values: Grey, *, is_film: npt.NDArray[np.bool_] | None = None) -> Grey:
    """Values from 0 to 1 over the range of the film; what lies beyond is clipped."""
    finite = np.isfinite(values)
    inside = values[finite if is_film is None else finite & is_film]
    if not inside.size:
        raise ValueError("it has no numbers in its pixels")
    low, high = _film_range(inside)
    scaled: Grey = np.clip((np.where(finite, values, low) - low) / max(high - low, 1e-6), 0, 1)
    return scaled


def _film_range(values: Grey) -> tuple[float, float]:
    """Smallest and largest value of the film: extremes beyond a gap are markers, text, or a border.

    Args:
        values: `(N,)`, finite.
    """
    levels = np.quantile(values, np.linspace(0, 1, LEVELS + 1))
    # Twice, since what lies at one end widens the range that a gap at the other is measured by.
    for _ in range(2):
        levels = levels[: len(levels) - _beyond_gap(levels)]
        levels = levels[_beyond_gap(-levels[::-1]) :]
    return float(levels[0]), float(levels[-1])


def _beyond_gap(levels: npt.NDArray[Any]) -> int:
    """How many of the rising levels lie at the top, beyond a gap."""
    steps = np.diff(levels)
    inside = levels[:-1] - levels[0]
    is_gap = steps > GAP * np.maximum(inside, 1e-6)
    count = np.arange(len(steps), 0, -1)
    is_few = count <= MARKER_SHARE * LEVELS
    is_border = (count <= BORDER_SHARE * LEVELS) & (levels[-1] - levels[1:] <= BORDER_NOISE * inside)
    found = np.flatnonzero(is_gap & (inside > 0) & (is_few | is_border))
    return int(count[found[0]]) if found.size else 0


PNEUMONIA_NAME: Final = re.compile(r"(?P<patient>person\d+)_(?P<agent>bacteria|virus)_\d+")
NORMAL_NAME: Final = re.compile(r"(?P<patient>(?:NORMAL2-)?IM-\d+)-\d+")


class Finding(StrEnum):
    """What a radiograph is filed under; the order is that of the classes 0 and 1."""

    NORMAL = "NORMAL"
    PNEUMONIA = "PNEUMONIA"


def decide(probability: float, threshold: float) -> Finding:
    """What a probability of pneumonia means at a threshold: from it on, pneumonia."""
    return Finding.PNEUMONIA if probability >= threshold else Finding.NORMAL


@dataclass(frozen=True, slots=True)
class XrayRecord:
    """One chest radiograph.

    Attributes:
        patient: Identifier from the file name, e.g. `"person123"`; the file's stem where the name tells none.
        finding: Folder it lies in.
        agent: `"bacteria"` or `"virus"` from the file name, `""` where it tells none.
        image: Path of the image file.
    """

    patient: str
    finding: Finding
    agent: str
    image: Path


@dataclass(frozen=True, slots=True)
class ChestXrayDataset:
    """What a folder of radiographs holds.

    Attributes:
        records: Images by path.
        problems: Files skipped, and names that tell no patient (these are kept).
    """

    records: list[XrayRecord]
    problems: list[Problem]


def read_chest_xray(root: Path) -> ChestXrayDataset:
    """Images of all folders `NORMAL` and `PNEUMONIA` below a folder; pixels are not read.

    Args:
        root: Existing folder: a release with `train`, `test` and `val`, or any folder
            with folders of these names at any depth.

    Returns:
        Images and problems. An image whose name tells no patient is a patient of its own.

    Raises:
        DataError: If there is no such folder, or images of one finding only.
    """
    if not root.is_dir():
        raise DataError(f"expected a folder with NORMAL and PNEUMONIA below it, found nothing at {root}")
    records: list[XrayRecord] = []
    problems: list[Problem] = []
    for finding in Finding:
        for folder in sorted(path for path in root.rglob(finding.value) if path.is_dir()):
            for path in sorted(path for path in folder.iterdir() if not path.name.startswith(".")):
                if path.suffix.lower() not in SUFFIXES:
                    reason = f"expected a name that ends in {', '.join(SUFFIXES)}, found {path.name}"
                    problems.append(Problem(path.stem, path, reason))
                    continue
                record = read_name(path, finding)
                if record.patient == path.stem:
                    reason = (
                        f"expected a patient in the name, found {path.name}; kept as a patient of its own"
                    )
                    problems.append(Problem(path.stem, path, reason))
                records.append(record)
    counts = {finding: sum(record.finding is finding for record in records) for finding in Finding}
    if not all(counts.values()):
        found = ", ".join(f"{count} in {finding}" for finding, count in counts.items())
        raise DataError(f"expected images in NORMAL and in PNEUMONIA below {root}, found {found}")
    return ChestXrayDataset(records, problems)


def read_name(path: Path, finding: Finding) -> XrayRecord:
    """Record of an image from its name and the folder it is filed under."""
    match = PNEUMONIA_NAME.match(path.name) or NORMAL_NAME.match(path.name)
    if match is None:
        return XrayRecord(path.stem, finding, "", path)
    return XrayRecord(match["patient"], finding, match.groupdict().get("agent") or "", path)


MIN_SIDE_PX: Final = 150
"""Shortest side below which the lungs' texture is lost."""

DARKEST: Final = 0.15
BRIGHTEST: Final = 0.85
"""Mean grey value, 0 to 1, beyond which a picture is too dark or too bright."""

MIN_CONTRAST: Final = 0.08
"""Standard deviation of the grey values below which there is hardly a picture."""

CHEST: Final = np.array(
    [
        [-6, -3, 0, 4, 4, 0, -3, -6],
        [-6, 0, 2, 4, 4, 2, 0, -6],
        [-7, 1, 0, 4, 4, 0, 1, -7],
        [-8, 0, 0, 6, 6, 0, 0, -8],
        [-9, -1, 1, 7, 7, 1, -1, -9],
        [-9, -2, 1, 7, 7, 1, -2, -9],
        [-9, 0, 5, 7, 7, 5, 0, -9],
        [-8, 4, 7, 9, 9, 7, 4, -8],
    ],
    dtype=np.float32,
)
"""How bright the parts of an upright frontal chest are: air beside it, lungs, mediastinum, abdomen.

Brightness against the mean in 8 rows and 8 columns, rounded, the same on both sides: that of the mean film
of the training images of Kermany et al., Mendeley Data v3, 2018, doi:10.17632/rscbjbr9sj.3, CC BY 4.0.
"""

MIN_LIKENESS: Final = 0.45
"""Correlation with `CHEST` below which a picture is hardly a frontal chest radiograph.

Of the 4,710 training films above, 0.6% are warned of by this or `MIN_UPRIGHT`; turned by 180 degrees 98%,
by 90 degrees all, as a negative all.
"""

MIN_UPRIGHT: Final = -0.02
"""Likeness less that of the picture turned by 90, 180 or 270 degrees below which it is hardly upright."""

NO_VERDICT: Final = "no verdict: "
"""How a warning begins that gives a reason why a picture gets no probability and no decision."""

LONGEST_ASPECT: Final = 2.5
"""Width by height above which a picture is hardly a frontal chest radiograph."""

TALLEST_ASPECT: Final = 1.6
"""Height by width above which it is hardly one, as of two films above each other; up to 1.20 in 80 films."""

MIN_GREYS: Final = 16
"""Fewest grey values of a film; 100 training films have 174 and more."""

GREYS_PX: Final = 512
"""Rows and columns, at most twice as many, in which grey values are counted."""


def quality_warnings(image: XrayImage) -> list[str]:
    """Warnings for one image, in words; empty for one without fault.

    Args:
        image: As from `read_xray`.
    """
    pixels = image.pixels
    height, width = pixels.shape
    mean, spread = float(pixels.mean()), float(pixels.std())
    warnings = []
    if image.colourfulness > MAX_COLOUR:
        warnings.append("it is in colour: not a radiograph?")
    if min(height, width) < MIN_SIDE_PX:
        warnings.append(f"it is small ({width} x {height} pixels)")
    if mean < DARKEST:
        warnings.append("it is too dark")
    elif mean > BRIGHTEST:
        warnings.append("it is too bright")
    if spread < MIN_CONTRAST:
        warnings.append("it has hardly any contrast")
    if image.mode != "DICOM":
        warnings += image.doubts
    return [*warnings, *(NO_VERDICT + doubt for doubt in chest_doubts(image))]


def chest_doubts(image: XrayImage) -> list[str]:
    """Those of the warnings by which it is hardly an upright frontal chest film: a class would mean nothing.

    Args:
        image: As from `read_xray`.
    """
    pixels = image.pixels
    height, width = pixels.shape
    doubts = list(image.doubts) if image.mode == "DICOM" else []
    if width > LONGEST_ASPECT * height or height > TALLEST_ASPECT * width:
        doubts.append(f"it is {width} x {height} pixels: not a frontal chest radiograph?")
    greys = len(np.unique(pixels[:: height // GREYS_PX + 1, :: width // GREYS_PX + 1]))
    if greys < MIN_GREYS:
        doubts.append(f"it has {greys} grey values, of at least {MIN_GREYS}: a drawing or a mask?")
    likeness = chest_likeness(pixels)
    turned = max(chest_likeness(np.rot90(pixels, turns)) for turns in (1, 2, 3))
    if likeness < MIN_LIKENESS or likeness - turned < MIN_UPRIGHT:
        doubts.append(
            "it hardly looks like a chest from the front, upright: turned, a side view, a photograph, "
            "a negative or another body part?"
        )
    return doubts


def chest_likeness(pixels: npt.NDArray[np.float32]) -> float:
    """Correlation, -1 to 1, of the coarse brightness of `(H, W)` with `CHEST`; 0 if it is constant."""
    rows, columns = CHEST.shape
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    small = np.asarray(picture.resize((columns, rows), Image.Resampling.BOX))
    values, chest = small - small.mean(), CHEST - CHEST.mean()
    length = max(float(np.linalg.norm(values) * np.linalg.norm(chest)), 1e-6)
    return float(np.sum(values * chest)) / length
