"""Beating short-axis heart of known volumes, and ACDC's five disease groups as random hearts."""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.core.records import MYOCARDIAL_DENSITY_G_PER_ML

FloatArray = npt.NDArray[np.float64]

ANGLES: Final = 360
"""Samples of a surface around the long axis, one a degree."""

ABSENT_MM: Final = -100.0
"""Radius of a surface at a depth that it does not reach."""

THETA: Final = np.deg2rad(np.arange(ANGLES, dtype=np.float64))
"""Their angles, radians."""

_ATRIUM_MM: Final = 50.0
_STEP: Final = 2.0 * np.pi / ANGLES
_LEVELS: Final = (np.arange(64) + 0.5) / 64


@dataclass(frozen=True, slots=True)
class Heart:
    """One heart: its volumes and the numbers that give it its shape.

    Angles are in radians in the plane of the slices, 0 along the first axis and growing towards
    the second; depths are in mm below the end-diastolic base, growing towards the apex.

    Attributes:
        group: Disease group, as in ACDC.
        lv_edv_ml: Volume of the LV cavity at ED, mL.
        lv_ef_percent: Ejection fraction of the LV, percent.
        myo_ml: Volume of the LV myocardium, mL, the same in every frame.
        rv_edv_ml: Volume of the RV cavity at ED, mL.
        rv_ef_percent: Ejection fraction of the RV, percent.
        length_mm: Length of the LV cavity at ED, base to apex.
        descent_mm: Way of the LV base towards the apex from ED to ES.
        taper: Exponent of the long-axis profile; higher is blunter.
        outline: `(ANGLES,)` factor on the LV radii: the LV's departure from a circle.
        epicardium: `(ANGLES,)` further factor on the outer radius: asymmetric wall thickness.
        scar: `(ANGLES,)` share of the inward motion that is lost, 0..1.
        scar_from: Relative depth (0 base, 1 apex) where the scar begins.
        rv_angle: Direction of the middle of the RV, radians.
        rv_depth: `(ANGLES,)` relative depth of the RV cavity outside the septum, 0..1.
        rv_reach: Length of the RV relative to the LV's, under 1.
    """

    group: str
    lv_edv_ml: float
    lv_ef_percent: float
    myo_ml: float
    rv_edv_ml: float
    rv_ef_percent: float
    length_mm: float
    descent_mm: float
    taper: float
    outline: FloatArray
    epicardium: FloatArray
    scar: FloatArray
    scar_from: float
    rv_angle: float
    rv_depth: FloatArray
    rv_reach: float


@dataclass(frozen=True, slots=True)
class Surfaces:
    """Radii in mm of one heart in one frame, `(D, ANGLES)` for D depths; `ABSENT_MM` beyond their ends.

    Attributes:
        endo: Border of the LV cavity.
        epi: Outer border of the LV myocardium.
        rv: Outer border of the RV cavity, equal to `epi` where there is no RV.
        left_atrium: Border of the left atrium, above the base of the LV.
        right_atrium: Outer border of the right atrium, above the base of the RV.
        level: `(D,)` relative depth in the LV cavity, 0 at its base and 1 at its apex.
    """

    endo: FloatArray
    epi: FloatArray
    rv: FloatArray
    left_atrium: FloatArray
    right_atrium: FloatArray
    level: FloatArray


def contraction_curve(frames: int, index_es: int) -> FloatArray:
    """Share of the stroke that is ejected in each frame, 0 at ED and 1 at ES.

    Ejection up to ES, then rapid filling, rest and the atrial kick.

    Args:
        frames: Frames in the cardiac cycle, more than `index_es`.
        index_es: End-systolic frame, 0-based, at least 1.

    Returns:
        `(frames,)` values: 0 in the first frame, 1 at `index_es`, between them elsewhere.
    """
    index = np.arange(frames, dtype=np.float64)
    ejected = np.sin(0.5 * np.pi * np.minimum(index / index_es, 1.0)) ** 2
    filling = np.clip((index - index_es) / (frames - index_es), 0.0, 1.0)
    refilled = 0.75 * _smooth_step(filling / 0.5) + 0.25 * _smooth_step((filling - 0.7) / 0.3)
    return np.asarray(ejected - refilled)


def volumes_ml(heart: Heart, contraction: float) -> tuple[float, float, float]:
    """Exact volumes of RV cavity, myocardium and LV cavity, in mL.

    Args:
        heart: The heart.
        contraction: Share of the stroke that is ejected, 0 at ED to 1 at ES.
    """
    rv = heart.rv_edv_ml * (1.0 - contraction * heart.rv_ef_percent / 100.0)
    lv = heart.lv_edv_ml * (1.0 - contraction * heart.lv_ef_percent / 100.0)
    return rv, heart.myo_ml, lv


def heart_surfaces(heart: Heart, contraction: float, depths_mm: FloatArray) -> Surfaces:
    """Radii in mm of the heart's surfaces at the given depths, in one frame.

    Args:
        heart: The heart.
        contraction: Share of the stroke that is ejected, 0 at ED to 1 at ES.
        depths_mm: `(D,)` depths below the end-diastolic base, mm.
    """
    relaxed = _sizes(heart, 0.0, None)
    sizes = _sizes(heart, contraction, relaxed)
    level = (depths_mm - sizes.base_mm) / sizes.length_mm
    stunned = _scar(heart, level) * (relaxed.endo_mm - sizes.endo_mm)
    endo = (sizes.endo_mm + stunned) * _endo_shape(heart, level)
    epi = _epi_radius(heart, sizes, relaxed, depths_mm)
    rv_level = (depths_mm - sizes.rv_base_mm) / sizes.rv_length_mm
    rv = epi + sizes.rv_mm * _rv_profile(rv_level)[:, None] * heart.rv_depth
    absent = (level < 0.0) | (depths_mm > sizes.base_mm + sizes.outer_length_mm)
    epi[absent] = ABSENT_MM
    rv[absent] = ABSENT_MM
    above = (sizes.base_mm - depths_mm) / _ATRIUM_MM
    atrial = np.sqrt(np.clip(1.0 - above * above, 0.0, 1.0))[:, None]
    left_atrium = np.where((above > 0.0)[:, None], 0.8 * relaxed.epi_mm * atrial * heart.outline, ABSENT_MM)
    beside = 0.7 * relaxed.rv_mm * atrial * heart.rv_depth**3
    right_atrium = np.asarray(np.maximum(epi, left_atrium) + beside, dtype=np.float64)
    right_atrium[rv_level >= 0.0] = ABSENT_MM
    endo[(level < 0.0) | (level > 1.0)] = ABSENT_MM
    return Surfaces(endo, epi, rv, left_atrium, right_atrium, level)


@dataclass(frozen=True, slots=True)
class _Sizes:
    """Where the surfaces of one frame begin and how long and wide they are, mm."""

    base_mm: float
    length_mm: float
    outer_length_mm: float
    rv_base_mm: float
    rv_length_mm: float
    endo_mm: float
    epi_mm: float
    rv_mm: float


def _sizes(heart: Heart, contraction: float, relaxed: _Sizes | None) -> _Sizes:
    """Solve the sizes of one frame from its volumes; `relaxed` are those at ED, None for ED itself."""
    rv_ml, myo_ml, lv_ml = volumes_ml(heart, contraction)
    base = contraction * heart.descent_mm
    length = heart.length_mm - base
    # The wall at the apex thickens less than elsewhere.
    outer = length + 0.06 * heart.length_mm * (1.0 + 0.3 * contraction)
    rv_base = max(base, 0.3 * contraction * heart.rv_ef_percent)
    rv_length = heart.rv_reach * heart.length_mm - rv_base
    scar = _scar(heart, _LEVELS)
    shapes = (_endo_shape(heart, _LEVELS), _epi_shape(heart, _LEVELS))
    targets = (lv_ml / length, (lv_ml + myo_ml) / outer)
    widths = []
    for shape, target, key in zip(shapes, targets, ("endo_mm", "epi_mm"), strict=True):
        held = np.asarray(shape * scar * (getattr(relaxed, key) if relaxed else 0.0), dtype=np.float64)
        free = np.asarray(shape * (1.0 - scar) if relaxed else shape, dtype=np.float64)
        widths.append(
            _positive_root(
                0.5 * _around(free * free), _around(free * held), 0.5 * _around(held * held) - 1000.0 * target
            )
        )
    sizes = _Sizes(base, length, outer, rv_base, rv_length, widths[0], widths[1], 0.0)
    depths = rv_base + rv_length * _LEVELS
    bulge = _rv_profile(_LEVELS)[:, None] * heart.rv_depth
    epi = _epi_radius(heart, sizes, relaxed or sizes, depths)
    rv = _positive_root(0.5 * _around(bulge * bulge), _around(epi * bulge), -1000.0 * rv_ml / rv_length)
    return _Sizes(base, length, outer, rv_base, rv_length, widths[0], widths[1], rv)


def _epi_radius(heart: Heart, sizes: _Sizes, relaxed: _Sizes, depths_mm: FloatArray) -> FloatArray:
    level = (depths_mm - sizes.base_mm) / sizes.outer_length_mm
    stunned = _scar(heart, level) * (relaxed.epi_mm - sizes.epi_mm)
    return np.asarray((sizes.epi_mm + stunned) * _epi_shape(heart, level))


def _endo_shape(heart: Heart, level: FloatArray) -> FloatArray:
    return np.asarray(np.sqrt(1.0 - np.clip(level, 0.0, 1.0) ** heart.taper)[:, None] * heart.outline)


def _epi_shape(heart: Heart, level: FloatArray) -> FloatArray:
    return _endo_shape(heart, level) * heart.epicardium


def _scar(heart: Heart, level: FloatArray) -> FloatArray:
    """Share of the inward motion that is lost, `(D, ANGLES)`."""
    return np.asarray(np.clip((level - heart.scar_from) / 0.2, 0.0, 1.0)[:, None] * heart.scar)


def _rv_profile(level: FloatArray) -> FloatArray:
    inside = (level >= 0.0) & (level <= 1.0)
    return np.asarray(inside * (1.0 - np.clip(level, 0.0, 1.0) ** 2) ** 0.8)


def _around(values: FloatArray) -> float:
    """Integral over angle and relative depth of values at `_LEVELS`."""
    return float(values.sum() * _STEP / len(_LEVELS))


def _positive_root(square: float, linear: float, constant: float) -> float:
    return float((np.sqrt(linear * linear - 4.0 * square * constant) - linear) / (2.0 * square))


def _smooth_step(x: FloatArray) -> FloatArray:
    clipped = np.clip(x, 0.0, 1.0)
    return np.asarray(clipped * clipped * (3.0 - 2.0 * clipped))


GROUPS: Final = ("DCM", "HCM", "MINF", "NOR", "RV")
"""Disease groups of ACDC: dilated, hypertrophic, infarcted, normal, abnormal right ventricle."""


# Chosen to satisfy the group definitions of Bernard et al., IEEE TMI 37(11), 2018, table I
# (doi:10.1109/TMI.2018.2837502), with a margin for what sampling in slices adds.
_RANGES: Final = {
    "DCM": ((210, 300), (15, 33), (120, 175), (130, 210), (32, 50)),
    "HCM": ((100, 150), (65, 76), (150, 210), (110, 160), (55, 66)),
    "MINF": ((160, 220), (22, 35), (105, 150), (120, 170), (45, 58)),
    "NOR": ((115, 165), (57, 65), (85, 125), (125, 175), (53, 62)),
    "RV": ((95, 140), (52, 62), (75, 110), (210, 280), (18, 31)),
}
"""Lowest and highest LV EDV in mL, LV EF in percent, mass in g, RV EDV in mL and RV EF in percent."""


def draw_heart(group: str, rng: np.random.Generator) -> Heart:
    """Heart of a disease group with measures drawn from the group's ranges.

    Args:
        group: One of `GROUPS`.
        rng: Source of all its numbers.

    Returns:
        The heart, its RV towards the negative first axis within some 25 degrees.
    """
    lv_edv, lv_ef, mass, rv_edv, rv_ef = (rng.uniform(*ends) for ends in _RANGES[group])
    rv_angle = np.pi + np.deg2rad(rng.uniform(-20.0, 25.0))
    outline = 1.0 + rng.uniform(0.0, 0.04) * np.cos(2.0 * (THETA - rng.uniform(0.0, np.pi)))
    outline += rng.uniform(0.0, 0.02) * np.cos(3.0 * (THETA - rng.uniform(0.0, np.pi)))
    epicardium = np.ones(ANGLES)
    scar = np.zeros(ANGLES)
    if group == "RV":  # the loaded RV flattens the septum
        outline -= rng.uniform(0.06, 0.14) * _bump(rv_angle, 0.6)
    if group == "HCM":
        epicardium += rng.uniform(0.02, 0.14) * _bump(rv_angle + rng.uniform(-0.5, 0.5), 0.7)
    if group == "MINF":
        scar = rng.uniform(0.85, 1.0) * _bump(rng.uniform(0.0, 2.0 * np.pi), rng.uniform(0.5, 0.8))
        epicardium -= rng.uniform(0.03, 0.06) * scar
    half_width = np.deg2rad(rng.uniform(72.0, 84.0))
    across = _angle_from(rv_angle) / half_width
    rv_depth = np.cos(0.5 * np.pi * np.clip(across, -1.0, 1.0)) ** rng.uniform(0.6, 0.9)
    rv_depth *= 1.0 + rng.uniform(-0.3, 0.3) * np.clip(across, -1.0, 1.0)
    return Heart(
        group=group,
        lv_edv_ml=lv_edv,
        lv_ef_percent=lv_ef,
        myo_ml=mass / MYOCARDIAL_DENSITY_G_PER_ML,
        rv_edv_ml=rv_edv,
        rv_ef_percent=rv_ef,
        length_mm=88.0 * (lv_edv / 150.0) ** 0.25 * rng.uniform(0.94, 1.04),
        descent_mm=rng.uniform(0.16, 0.22) * lv_ef,
        taper=rng.uniform(2.4, 3.4),
        outline=outline,
        epicardium=epicardium,
        scar=scar,
        scar_from=rng.uniform(0.0, 0.25),
        rv_angle=rv_angle,
        rv_depth=rv_depth,
        rv_reach=rng.uniform(0.74, 0.86),
    )


def _angle_from(angle: float) -> FloatArray:
    return np.asarray((THETA - angle + np.pi) % (2.0 * np.pi) - np.pi)


def _bump(angle: float, width: float) -> FloatArray:
    return np.asarray(np.exp(-0.5 * (_angle_from(angle) / width) ** 2))
