"""Reading one radiograph: JPEG, PNG or DICOM into a grey image."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import pydicom
from PIL import Image, UnidentifiedImageError
from pydicom.errors import InvalidDicomError
from pydicom.pixel_data_handlers.util import apply_modality_lut, apply_voi_lut

from pipelines.core.errors import DataError

SUFFIXES: Final = (".jpeg", ".jpg", ".png", ".dcm", ".dicom")
"""File names, in lower case, that are taken for radiographs."""

LEAST_PX: Final = 32
"""Shortest side of an image that can be a radiograph, pixels."""

MOST_COLOURFUL: Final = 0.05
"""Mean range of red, green and blue from which a picture is a colour photograph."""

DICOM_MAGIC: Final = b"DICM"
DICOM_MAGIC_AT: Final = 128


@dataclass(frozen=True, slots=True)
class XrayImage:
    """A radiograph as grey values.

    Attributes:
        pixels: `(H, W)` float32, 0 black to 1 white; bone is bright.
        mode: Pixel format of the file, as Pillow names it, or `"DICOM"`.
        colourfulness: Mean range of red, green and blue in a pixel, 0 for grey to 1.
    """

    pixels: npt.NDArray[np.float32]
    mode: str
    colourfulness: float


def read_xray(path: Path) -> XrayImage:
    """Grey values of a JPEG, PNG or DICOM file.

    8-bit images keep their scale; those with more bits, and DICOM, are stretched
    between their extremes, since few of them use the whole range.

    Args:
        path: Existing file; its content decides, not its name.

    Raises:
        DataError: If it is no readable still image, has more than one frame, or is too small.
    """
    try:
        with path.open("rb") as file:
            file.seek(DICOM_MAGIC_AT)
            is_dicom = file.read(len(DICOM_MAGIC)) == DICOM_MAGIC
        image = _read_dicom(path) if is_dicom else _read_picture(path)
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"expected a whole JPEG, PNG or DICOM image, found {path}: {error}") from error
    height, width = image.pixels.shape
    if min(height, width) < LEAST_PX:
        raise DataError(
            f"expected a radiograph of at least {LEAST_PX} x {LEAST_PX} pixels, "
            f"found {width} x {height} in {path}"
        )
    return image


def _read_picture(path: Path) -> XrayImage:
    try:
        picture = Image.open(path)
    except UnidentifiedImageError:
        raise ValueError("its content is none of them") from None
    with picture:
        frames = getattr(picture, "n_frames", 1)
        if frames != 1:
            raise ValueError(f"it has {frames} frames; give one still image")
        picture.load()
        mode = picture.mode
        if mode.startswith(("I", "F")):
            return XrayImage(_stretched(np.asarray(picture, dtype=np.float32)), mode, 0.0)
        colour = np.asarray(picture.convert("RGB"), dtype=np.float32) / 255
        grey = np.asarray(picture.convert("RGB").convert("L"), dtype=np.float32) / np.float32(255)
    return XrayImage(grey, mode, float(np.ptp(colour, axis=2).mean()))


def _read_dicom(path: Path) -> XrayImage:
    try:
        dataset = pydicom.dcmread(path)
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        if frames != 1:
            raise ValueError(f"it has {frames} frames; give one still image")
        if int(dataset.get("SamplesPerPixel", 1)) != 1:
            raise ValueError(f"its pixels are {dataset.PhotometricInterpretation}; give a grey one")
        values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    except (InvalidDicomError, AttributeError, NotImplementedError, RuntimeError, EOFError) as error:
        raise ValueError(str(error)) from error
    pixels = _stretched(np.asarray(values, dtype=np.float32))
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        pixels = 1 - pixels
    return XrayImage(pixels, "DICOM", 0.0)


def _stretched(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    low, high = float(values.min()), float(values.max())
    scaled: npt.NDArray[np.float32] = (values - low) / max(high - low, 1e-6)
    return scaled
