"""What makes a picture a doubtful input: not a chest radiograph, too dark, too small."""

from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.datasets.duplicates import thumbnail
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.datasets.xray_image import MOST_COLOURFUL, XrayImage

LEAST_SIDE_PX: Final = 150
"""Shortest side below which the lungs' texture is lost."""

DARKEST: Final = 0.15
BRIGHTEST: Final = 0.85
"""Mean grey value, 0 to 1, beyond which a picture is too dark or too bright."""

LEAST_CONTRAST: Final = 0.08
"""Standard deviation of the grey values below which there is hardly a picture."""

LEAST_LIKENESS: Final = 0.2
"""Correlation with a generated chest below which a picture is hardly a frontal chest radiograph."""

LONGEST_ASPECT: Final = 2.5
"""Ratio of the sides above which a picture is hardly a frontal chest radiograph."""

GENERATED_CHESTS: Final = 20


def quality_warnings(image: XrayImage) -> list[str]:
    """Warnings for one image, in words; empty for one without fault.

    Args:
        image: As from `read_xray`.
    """
    pixels = image.pixels
    height, width = pixels.shape
    mean, spread = float(pixels.mean()), float(pixels.std())
    warnings = []
    if image.colourfulness > MOST_COLOURFUL:
        warnings.append("it is in colour: not a radiograph?")
    if min(height, width) < LEAST_SIDE_PX:
        warnings.append(f"it is small ({width} x {height} pixels)")
    if max(height, width) > LONGEST_ASPECT * min(height, width):
        warnings.append(f"it is {width} x {height} pixels: not a frontal chest radiograph?")
    if mean < DARKEST:
        warnings.append("it is too dark")
    elif mean > BRIGHTEST:
        warnings.append("it is too bright")
    if spread < LEAST_CONTRAST:
        warnings.append("it has hardly any contrast")
    if chest_likeness(pixels) < LEAST_LIKENESS:
        warnings.append("it hardly looks like a chest: another body part, a negative or turned?")
    return warnings


def chest_likeness(pixels: npt.NDArray[np.float32]) -> float:
    """Correlation, -1 to 1, of a thumbnail of `(H, W)` with that of a mean generated chest."""
    return float(thumbnail(pixels) @ _generated_chest())


@lru_cache(maxsize=1)
def _generated_chest() -> npt.NDArray[np.float32]:
    chests = [phantom_xray(np.random.default_rng(seed)) for seed in range(GENERATED_CHESTS)]
    mean: npt.NDArray[np.float32] = np.mean(chests, axis=0, dtype=np.float32)
    return thumbnail(mean)
