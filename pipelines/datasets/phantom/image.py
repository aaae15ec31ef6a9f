"""The phantom's heart as a scanner would show it: contrast, anatomy around it, partial volume, noise."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import ConfigError
from pipelines.datasets.phantom.heart import ABSENT_MM, ANGLES, THETA, Heart, Surfaces, heart_surfaces


@dataclass(frozen=True, slots=True)
class Tissue:
    """Signal of the heart's tissues relative to bright blood, as in balanced SSFP cine."""

    lv_blood: float
    rv_blood: float
    myo: float
    fat: float


@dataclass(frozen=True, slots=True)
class Contrast:
    """How a sequence shows the heart, from the tissues of a cine.

    Signals are chosen to be of the kind that a sequence gives, they are no simulation of it; what
    surrounds the heart, the aorta among it, stays as in the cine.

    Attributes:
        description: What it is like, in words.
        tissue: Signal of the heart's tissues from those of the cine.
        noise: Noise as a multiple of the cine's.
    """

    description: str
    tissue: Callable[[Tissue], Tissue]
    noise: float = 1.0


CONTRASTS: Final[Mapping[str, Contrast]] = {
    "cine": Contrast("bright blood, dark muscle, as in balanced SSFP cine", lambda tissue: tissue),
    "low-contrast": Contrast(
        "blood 0.4 times as far above muscle as in the cine, noise 1.5 times, as in a cine at low flip angle",
        lambda tissue: replace(
            tissue,
            lv_blood=tissue.myo + 0.4 * (tissue.lv_blood - tissue.myo),
            rv_blood=tissue.myo + 0.4 * (tissue.rv_blood - tissue.myo),
        ),
        noise=1.5,
    ),
    "late-enhancement": Contrast(
        "muscle nulled, blood grey, noise doubled, as in late gadolinium enhancement without a scar",
        lambda tissue: replace(
            tissue,
            lv_blood=0.55 * tissue.lv_blood,
            rv_blood=0.55 * tissue.rv_blood,
            myo=0.15 * tissue.myo,
        ),
        noise=2.0,
    ),
    "dark-blood": Contrast(
        "dark blood, bright muscle, as in black-blood spin echo",
        lambda tissue: replace(
            tissue,
            lv_blood=0.12 * tissue.lv_blood,
            rv_blood=0.12 * tissue.rv_blood,
            myo=tissue.myo + 0.3,
        ),
    ),
}
"""Contrasts by name; the first is the phantom's own."""

CINE: Final = "cine"


def find_contrast(name: str) -> Contrast:
    """Contrast by name.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in CONTRASTS:
        raise ConfigError(f"expected a contrast among {', '.join(CONTRASTS)}, found {name!r}")
    return CONTRASTS[name]


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


_SAMPLES: Final = 3  # depths within one thick slice
_MIN_FIELD_MM: Final = 230.0


@dataclass(frozen=True, slots=True)
class Scan:
    """How one heart is imaged: grid, position, contrast, surroundings and flaws of the image.

    Attributes:
        heart: The heart in the scanner.
        spacing_mm: `(dx, dy, dz)` voxel size in mm.
        depths_mm: `(Z,)` depth of each slice's middle below the end-diastolic base.
        window: Rows and columns that the heart moves in.
        radius_mm: `(Z, H, W)` distance of the window's pixels from the long axis.
        angle: `(Z, H * W)` their direction from it, as an index into the surfaces' angles.
        surroundings: `(Z, Y, X)` image of everything but the heart, stored units without noise.
        texture: `(Z, H, W)` relative variation of signal in the window, mean 0.
        papillaries: Directions of the two papillary muscles, radians.
        fat_mm: `(ANGLES,)` thickness of the fat on the heart.
        tissue: Signal of the heart's tissues.
        gain: `(Z, H, W)` stored units of bright blood in the window.
        noise: Noise in stored units, more than one frame has voxels; each frame takes a stretch of it.
    """

    heart: Heart
    spacing_mm: tuple[float, float, float]
    depths_mm: npt.NDArray[np.float64]
    window: tuple[slice, slice]
    radius_mm: Float32Array
    angle: npt.NDArray[np.intp]
    surroundings: Float32Array
    texture: Float32Array
    papillaries: tuple[float, float]
    fat_mm: npt.NDArray[np.float64]
    tissue: Tissue
    gain: Float32Array
    noise: Float32Array


def draw_scan(heart: Heart, rng: np.random.Generator, contrast: Contrast = CONTRASTS[CINE]) -> Scan:
    """Random scan of a heart: 160 to 224 pixels of 1.2 to 1.8 mm, 8 to 12 slices of 5 to 10 mm.

    The heart lies up to 20 mm off the centre of the image in each direction and turned by up to
    20 degrees with the chest around it.

    Args:
        heart: The heart to image.
        rng: Source of all its numbers; they do not depend on the contrast.
        contrast: How the sequence shows the heart.
    """
    pixel_mm = round(rng.uniform(1.2, 1.8), 3)
    least = max(160, int(np.ceil(_MIN_FIELD_MM / pixel_mm)))
    rows, columns = (2 * (int(size) // 2) for size in rng.integers(least + 1, 225, 2))
    covered_mm = heart.length_mm + rng.uniform(4.0, 14.0)
    slices = max(int(rng.integers(8, 13)), min(12, int(np.ceil(covered_mm / 10.0))))
    thickness_mm = float(np.clip(np.ceil(2.0 * covered_mm / slices) / 2.0, 5.0, 10.0))
    depths = thickness_mm * (np.arange(slices, dtype=np.float64) + rng.uniform(-0.4, 0.4))
    turn = np.deg2rad(rng.uniform(-20.0, 20.0))
    middle = np.array([-15.0, 0.0]) + rng.uniform(-18.0, 18.0, 2)  # of the image, from the LV
    right, down = (
        ((np.arange(size, dtype=np.float32) - (size - 1) / 2) * pixel_mm).astype(np.float32)
        for size in (columns, rows)
    )
    x = (right[None, :] * np.cos(turn) + down[:, None] * np.sin(turn) + middle[0]).astype(np.float32)
    y = (down[:, None] * np.cos(turn) - right[None, :] * np.sin(turn) + middle[1]).astype(np.float32)
    # Slices are not quite perpendicular to the long axis.
    axis = rng.uniform(-0.06, 0.06, 2) * (depths - 0.5 * heart.length_mm)[:, None]
    fat_mm = np.clip(rng.uniform(1.0, 4.0) + 3.0 * np.cos(THETA - rng.uniform(np.pi, 1.5 * np.pi)), 0.5, 7.0)
    relaxed = heart_surfaces(heart, 0.0, np.linspace(-10.0, heart.length_mm, 12))
    outline = np.maximum(np.maximum(relaxed.rv, relaxed.right_atrium), relaxed.left_atrium).max(axis=0) + 4.0
    window = _window(x, y, outline + fat_mm + np.abs(axis).max() + 2.0 * pixel_mm)
    radius, angle = _polar(x[window], y[window], axis)
    levels = (depths / heart.length_mm).astype(np.float32)
    surroundings = neighbouring_anatomy(x, y, levels, float(-(outline * np.cos(THETA)).min()), rng)
    tissue = Tissue(
        lv_blood=rng.uniform(0.92, 1.05),
        rv_blood=rng.uniform(0.78, 0.98),
        myo=rng.uniform(0.24, 0.42),
        fat=rng.uniform(0.5, 0.95),
    )
    scale = 10.0 ** rng.uniform(2.0, 2.6)
    towards = rng.uniform(0.0015, 0.004) * x + rng.uniform(0.0, 0.003) * y  # weaker far from the coil
    bias = np.exp(rng.uniform(0.08, 0.2) * smooth_field((1, rows, columns), 0.02, rng) - towards)
    along = np.linspace(rng.uniform(0.85, 1.15), rng.uniform(0.85, 1.15), slices)[:, None, None]
    gain = (scale * bias * along).astype(np.float32)
    noise = rng.standard_normal(3 * slices * rows * columns // 2, dtype=np.float32)
    noise *= np.float32(scale * rng.uniform(0.015, 0.04) * contrast.noise)
    return Scan(
        heart=heart,
        spacing_mm=(pixel_mm, pixel_mm, thickness_mm),
        depths_mm=depths,
        window=window,
        radius_mm=radius,
        angle=angle,
        surroundings=surroundings * gain,
        texture=0.06 * smooth_field((slices, radius.shape[1], radius.shape[2]), 0.25, rng),
        papillaries=(
            heart.rv_angle + np.pi - rng.uniform(0.6, 1.0),
            heart.rv_angle + np.pi + rng.uniform(0.6, 1.0),
        ),
        fat_mm=fat_mm,
        tissue=contrast.tissue(tissue),
        gain=gain[:, *window],
        noise=noise,
    )


def image_frame(
    scan: Scan, contraction: float, rng: np.random.Generator
) -> tuple[npt.NDArray[np.int16], npt.NDArray[np.uint8]]:
    """Image and label map of one frame.

    Args:
        scan: What is imaged, and how.
        contraction: Share of the stroke that is ejected, 0 at ED to 1 at ES.
        rng: Source of the frame's noise.

    Returns:
        `(Z, Y, X)` int16 image in scanner units, and `(Z, Y, X)` uint8 label map with values from
        `AcdcLabel`: each voxel has the label that fills most of it, papillary muscles count as LV.
    """
    within = (np.arange(_SAMPLES) + 0.5) / _SAMPLES - 0.5
    depths = (scan.depths_mm[:, None] + scan.spacing_mm[2] * within).ravel()
    surfaces = heart_surfaces(scan.heart, contraction, depths)
    label, heart, coverage = _heart_window(scan, surfaces, contraction)
    labels = np.zeros(scan.surroundings.shape, dtype=np.uint8)
    labels[:, *scan.window] = label
    signal = scan.surroundings.copy()
    around = signal[:, *scan.window]
    around += (heart * scan.gain - around) * coverage
    start = int(rng.integers(scan.noise.size - signal.size))
    signal += scan.noise[start : start + signal.size].reshape(signal.shape)
    # A magnitude image: what is left of the noise in air is positive.
    np.abs(signal, out=signal)
    signal += 0.5
    return signal.astype(np.int16), labels


def _heart_window(
    scan: Scan, surfaces: Surfaces, contraction: float
) -> tuple[npt.NDArray[np.uint8], Float32Array, Float32Array]:
    """Label, signal and coverage of the heart in the window, each `(Z, H, W)`."""
    tissue = scan.tissue
    has_lv = (surfaces.level >= 0.0).astype(np.float32)
    has_rv = (surfaces.right_atrium[:, 0] == ABSENT_MM).astype(np.float32) * has_lv
    lumen = _coverage(scan, np.maximum(surfaces.endo, surfaces.left_atrium))
    ring_mm = np.maximum(surfaces.epi, surfaces.left_atrium + 2.5)
    ring = _coverage(scan, ring_mm)
    right_mm = np.maximum(np.maximum(surfaces.rv, surfaces.right_atrium), ring_mm)
    right = _coverage(scan, right_mm)
    sac_mm = np.where(right_mm > ring_mm, right_mm + 3.0, right_mm)
    sac = _mean(_coverage(scan, sac_mm))
    fat = _mean(_coverage(scan, np.where(sac_mm > 0.0, sac_mm + scan.fat_mm, ABSENT_MM)))

    lv = _mean(lumen, has_lv)
    epi = _mean(ring, has_lv)
    rv = _mean(right - ring, has_rv)
    label = np.argmax(np.stack([1.0 - epi - rv, rv, epi - lv, lv]), axis=0).astype(np.uint8)

    blood = 1.0 + scan.texture
    signal = tissue.fat + (tissue.myo - tissue.fat) * sac
    signal += (tissue.rv_blood * blood - signal) * _mean(right)
    signal += (tissue.myo * blood - signal) * _mean(ring)
    lumen_signal = tissue.lv_blood * (1.0 - 0.12 * contraction) * blood
    lumen_signal += (1.15 * tissue.myo - lumen_signal) * _papillaries(scan, surfaces)
    signal += (lumen_signal - signal) * _mean(lumen)
    return label, signal, fat


def _papillaries(scan: Scan, surfaces: Surfaces) -> Float32Array:
    """Coverage by the two papillary muscles in the middle of the cavity, `(Z, H, W)`."""
    level = surfaces.level.reshape(-1, _SAMPLES).mean(axis=1)
    cavity_mm = np.clip(surfaces.endo, 0.0, None).mean(axis=1).reshape(-1, _SAMPLES).mean(axis=1)
    size_mm = np.where((level > 0.2) & (level < 0.75), np.minimum(4.5, 0.3 * cavity_mm), ABSENT_MM)
    total = np.zeros_like(scan.radius_mm)
    for angle in scan.papillaries:
        # Law of cosines, with the muscle on its own ray from the long axis.
        ray = np.cos(THETA - angle).astype(np.float32)[scan.angle].reshape(total.shape)
        away = np.float32(0.66) * cavity_mm[:, None, None].astype(np.float32)
        squared = scan.radius_mm * (scan.radius_mm - 2.0 * away * ray) + away * away
        outside = np.sqrt(np.maximum(squared, 0.0)) - size_mm[:, None, None].astype(np.float32)
        np.maximum(total, np.clip(0.5 - outside / scan.spacing_mm[0], 0.0, 1.0), out=total)
    return total


def _coverage(scan: Scan, surface_mm: npt.NDArray[np.float64]) -> Float32Array:
    """Share of each pixel inside a `(Z * S, ANGLES)` surface, `(Z, S, H, W)` for S depths a slice."""
    slices, height, width = scan.radius_mm.shape
    table = surface_mm.astype(np.float32).reshape(slices, _SAMPLES, ANGLES)
    limit = np.stack([np.take(rows, index, axis=1) for rows, index in zip(table, scan.angle, strict=True)])
    limit = limit.reshape(slices, _SAMPLES, height, width)
    limit -= scan.radius_mm[:, None]
    limit *= 1.0 / scan.spacing_mm[0]
    limit += 0.5
    return np.asarray(np.clip(limit, 0.0, 1.0, out=limit))


def _mean(coverage: Float32Array, present: Float32Array | None = None) -> Float32Array:
    """Mean over the depths of a slice, of those depths only that are `present` (0 or 1)."""
    if present is not None:
        coverage = coverage * present.reshape(-1, _SAMPLES, 1, 1)
    return np.asarray(coverage.mean(axis=1))


def _window(x: Float32Array, y: Float32Array, outline_mm: npt.NDArray[np.float64]) -> tuple[slice, slice]:
    """Smallest rows and columns that hold the outline."""
    radius = np.hypot(x, y)
    angle = np.rint(np.arctan2(y, x) * (ANGLES / (2.0 * np.pi))).astype(np.intp) % ANGLES
    inside = radius < outline_mm[angle]
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _polar(
    x: Float32Array, y: Float32Array, axis_mm: npt.NDArray[np.float64]
) -> tuple[Float32Array, npt.NDArray[np.intp]]:
    """Distance and angle index of every pixel from the long axis of its slice."""
    from_x = x - axis_mm[:, 0, None, None].astype(np.float32)
    from_y = y - axis_mm[:, 1, None, None].astype(np.float32)
    angle = np.rint(np.arctan2(from_y, from_x) * (ANGLES / (2.0 * np.pi))).astype(np.intp) % ANGLES
    return np.hypot(from_x, from_y), angle.reshape(len(axis_mm), -1)
