"""What can be seen of a radiograph by code: exposure, sharpness, posture, borders, markers."""

from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import ndimage
from skimage.transform import resize

Pixels = npt.NDArray[np.float32]

SIDE_PX: Final = 64
"""Side of the small copy that posture is measured on."""

TILTS_DEG: Final = range(-12, 13, 2)
SHIFTS_PX: Final = range(-8, 9)
"""Turns and shifts, of the small copy, among which the most symmetric position is looked for."""

BLACK: Final = 0.03
WHITE: Final = 0.97
"""Grey values, 0 to 1, below and above which there is no picture, or a marker, wire or burnt-out bone."""


def measure_attributes(pixels: Pixels) -> dict[str, float]:
    """Figures of one radiograph.

    Args:
        pixels: `(H, W)` grey values, 0 black to 1 white.

    Returns:
        `brightness` and `contrast`, mean and standard deviation of the grey values; `sharpness`,
        standard deviation of the Laplacian over that of the grey values; `tilt_deg` and `shift`, the
        turn (degrees) and sideways shift (of the width) of the body's axis against the middle;
        `asymmetry`, 1 minus the correlation with the mirror image about that axis; `border`, share of
        rows and columns that are black; `white`, share of white pixels; `aspect`, width over height.
    """
    small = resize(pixels, (SIDE_PX, SIDE_PX), anti_aliasing=True).astype(np.float32)
    tilt, shift, likeness = _axis(small)
    spread = float(pixels.std())
    empty_rows, empty_columns = (pixels.max(axis=1) < BLACK).mean(), (pixels.max(axis=0) < BLACK).mean()
    return {
        "brightness": float(pixels.mean()),
        "contrast": spread,
        "sharpness": float(ndimage.laplace(pixels).std()) / max(spread, 1e-6),
        "tilt_deg": tilt,
        "shift": shift,
        "asymmetry": 1 - likeness,
        "border": float(empty_rows + empty_columns),
        "white": float((pixels > WHITE).mean()),
        "aspect": pixels.shape[1] / pixels.shape[0],
    }


def _axis(small: Pixels) -> tuple[float, float, float]:
    """Tilt in degrees, shift as a share of the width, and likeness of the most symmetric position."""
    best = (0.0, 0.0, -1.0)
    for tilt in TILTS_DEG:
        turned = ndimage.rotate(small, tilt, reshape=False, order=1, mode="nearest")
        for shift in SHIFTS_PX:
            likeness = _likeness_of_sides(turned, shift)
            if likeness > best[2]:
                best = (float(tilt), shift / SIDE_PX, likeness)
    return best


def _likeness_of_sides(image: Pixels, shift: int) -> float:
    """Correlation of the two sides of the column that lies `shift` right of the middle."""
    middle = SIDE_PX // 2 + shift
    width = min(middle, SIDE_PX - middle)
    left = image[:, middle - width : middle]
    right = image[:, middle : middle + width][:, ::-1]
    left, right = left - left.mean(), right - right.mean()
    scale = float(np.linalg.norm(left) * np.linalg.norm(right))
    return float((left * right).sum()) / scale if scale > 0 else 0.0
