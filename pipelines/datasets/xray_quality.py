"""What makes a picture a doubtful input: not a chest radiograph, too dark, too small."""

from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.datasets.xray_image import MAX_COLOUR, XrayImage

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
"""Ratio of the sides above which a picture is hardly a frontal chest radiograph."""


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
    if max(height, width) > LONGEST_ASPECT * min(height, width):
        doubts.append(f"it is {width} x {height} pixels: not a frontal chest radiograph?")
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
