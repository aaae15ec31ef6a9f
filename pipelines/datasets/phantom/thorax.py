"""Anatomy around the phantom's heart: chest wall, fat, lungs, diaphragm, liver, stomach and aorta."""

from typing import Any

import numpy as np
import numpy.typing as npt

Float32Array = npt.NDArray[np.float32]

_EDGE_MM = 1.5


def neighbouring_anatomy(
    x_mm: Float32Array, y_mm: Float32Array, levels: Float32Array, reach_mm: float, rng: np.random.Generator
) -> Float32Array:
    """Signal of everything but the heart in a stack of slices, relative to bright blood.

    Args:
        x_mm: `(Y, X)` position of each pixel from the centre of the LV, towards the patient's left.
        y_mm: `(Y, X)` position of each pixel from the centre of the LV, towards the feet.
        levels: `(Z,)` place of each slice along the heart, 0 at the base and 1 at the apex.
        reach_mm: How far the heart reaches towards the patient's right.
        rng: Source of all its numbers.

    Returns:
        `(Z, Y, X)` signal, 0 in air to about 1.2 in fat.
    """
    shape = (len(levels), x_mm.shape[0], x_mm.shape[1])
    fine = smooth_field(shape, 0.3, rng)
    coarse = smooth_field(shape, 0.07, rng)
    lung = np.float32(rng.uniform(0.03, 0.09)) + 0.4 * np.clip(fine - 1.1, 0.0, 1.5)
    abdomen = _abdomen(x_mm, y_mm, coarse, fine, rng)
    # The diaphragm rises from base to apex.
    height = rng.uniform(36.0, 46.0) - rng.uniform(5.0, 18.0) * levels[:, None, None]
    dome = 0.003 * (x_mm - rng.uniform(-40.0, 10.0)) ** 2
    stack = _mix(lung, abdomen, _inside(height + dome - y_mm))
    aorta = np.hypot(x_mm - rng.uniform(20.0, 40.0), y_mm - rng.uniform(58.0, 72.0)) - rng.uniform(9.0, 12.0)
    stack = _mix(stack, np.float32(0.25), _inside(aorta - 2.0))
    stack = _mix(stack, np.float32(rng.uniform(0.8, 1.0)), _inside(aorta))
    return _chest_wall(stack, x_mm, y_mm, coarse, reach_mm, rng)


def smooth_field(shape: tuple[int, int, int], detail: float, rng: np.random.Generator) -> Float32Array:
    """Random texture, smooth in plane and independent from slice to slice.

    Args:
        shape: `(Z, Y, X)` of the texture.
        detail: Random values per pixel along one axis; lower is smoother.
        rng: Source of all its numbers.

    Returns:
        `(Z, Y, X)` values with mean 0 and standard deviation somewhat below 1.
    """
    slices, rows, columns = shape
    down, across = (_interpolation(size, detail) for size in (rows, columns))
    coarse = rng.standard_normal((slices, down.shape[1], across.shape[1]), dtype=np.float32)
    return np.asarray(down @ coarse @ across.T)


def _interpolation(size: int, detail: float) -> Float32Array:
    """`(size, knots)` weights of linear interpolation between knots spread over the axis."""
    knots = max(2, round(size * detail))
    place = np.linspace(0.0, knots - 1.0, size, dtype=np.float32)
    return np.clip(1.0 - np.abs(place[:, None] - np.arange(knots, dtype=np.float32)), 0.0, 1.0)


def _abdomen(
    x_mm: Float32Array, y_mm: Float32Array, coarse: Float32Array, fine: Float32Array, rng: np.random.Generator
) -> Float32Array:
    """Liver on the right of the patient, stomach and bowel on the left, fat between them."""
    liver = rng.uniform(0.25, 0.42) + 0.03 * coarse + 0.4 * np.clip(fine - 1.5, 0.0, 1.0)
    bowel = rng.uniform(0.4, 0.6) + 0.25 * coarse
    border = x_mm - rng.uniform(0.0, 40.0) + 0.4 * (y_mm - 60.0) + 12.0 * coarse
    organs = _mix(bowel, liver, _inside(border))
    stomach = np.hypot(x_mm - rng.uniform(35.0, 60.0), 1.2 * (y_mm - rng.uniform(65.0, 90.0)))
    stomach -= rng.uniform(18.0, 30.0)
    organs = _mix(organs, np.float32(0.35), _inside(stomach - 3.0))
    return _mix(organs, np.float32(rng.uniform(0.1, 0.8)) + 0.1 * coarse, _inside(stomach))


def _chest_wall(
    stack: Float32Array,
    x_mm: Float32Array,
    y_mm: Float32Array,
    coarse: Float32Array,
    reach_mm: float,
    rng: np.random.Generator,
) -> Float32Array:
    """Put muscle, fat under the skin and air around the inside of the chest."""
    muscle_mm, fat_mm = rng.uniform(7.0, 13.0), rng.uniform(8.0, 25.0)
    half_x, half_y = rng.uniform(105.0, 135.0), rng.uniform(105.0, 140.0)
    centre_x = half_x - reach_mm - rng.uniform(4.0, 10.0)
    centre_y = rng.uniform(15.0, 35.0)
    roundness = rng.uniform(2.0, 2.8)
    radius = np.abs((x_mm - centre_x) / half_x) ** roundness + np.abs((y_mm - centre_y) / half_y) ** roundness
    outside = (radius ** (1.0 / roundness) - 1.0) * min(half_x, half_y)
    muscle = rng.uniform(0.18, 0.3) + 0.1 * np.clip(coarse, 0.0, 2.0)
    stack = _mix(stack, muscle, _inside(-outside))
    stack = _mix(stack, rng.uniform(0.75, 1.1) + 0.06 * coarse, _inside(muscle_mm - outside + 2.0 * coarse))
    skin = outside - muscle_mm - fat_mm
    return _mix(stack, np.float32(0.0), _inside(-skin))


def _inside(distance_mm: Float32Array) -> Float32Array:
    """Coverage by a region, 0..1, from the distance outside its border in mm."""
    return np.clip(0.5 - distance_mm / _EDGE_MM, 0.0, 1.0)


def _mix(
    below: npt.NDArray[np.floating[Any]],
    above: npt.NDArray[np.floating[Any]] | np.float32,
    coverage: Float32Array,
) -> Float32Array:
    return np.asarray(below + (above - below) * coverage, dtype=np.float32)
