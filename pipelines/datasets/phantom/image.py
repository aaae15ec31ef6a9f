"""The phantom's heart as a scanner would show it: partial volume, contrast, bias field and noise."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.datasets.phantom.contrast import CINE, CONTRASTS, Contrast, Tissue
from pipelines.datasets.phantom.heart import ABSENT_MM, ANGLES, THETA, Heart, Surfaces, heart_surfaces
from pipelines.datasets.phantom.thorax import Float32Array, neighbouring_anatomy, smooth_field

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
