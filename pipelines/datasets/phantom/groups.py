"""The five disease groups of ACDC as random hearts, each with the right direction of change."""

from dataclasses import dataclass
from typing import Final

import numpy as np

from pipelines.core.labels import MYOCARDIAL_DENSITY_G_PER_ML
from pipelines.datasets.phantom.heart import ANGLES, THETA, FloatArray, Heart

GROUPS: Final = ("DCM", "HCM", "MINF", "NOR", "RV")
"""Disease groups of ACDC: dilated, hypertrophic, infarcted, normal, abnormal right ventricle."""


@dataclass(frozen=True, slots=True)
class _Ranges:
    """Lowest and highest value of each measure that a group draws from."""

    lv_edv_ml: tuple[float, float]
    lv_ef_percent: tuple[float, float]
    mass_g: tuple[float, float]
    rv_edv_ml: tuple[float, float]
    rv_ef_percent: tuple[float, float]


# Chosen to satisfy the group definitions of Bernard et al., IEEE TMI 37(11), 2018, table I
# (doi:10.1109/TMI.2018.2837502), with a margin for what sampling in slices adds.
_RANGES: Final = {
    "DCM": _Ranges((210, 300), (15, 33), (120, 175), (130, 210), (32, 50)),
    "HCM": _Ranges((100, 150), (65, 76), (150, 210), (110, 160), (55, 66)),
    "MINF": _Ranges((160, 220), (22, 35), (105, 150), (120, 170), (45, 58)),
    "NOR": _Ranges((115, 165), (57, 65), (85, 125), (125, 175), (53, 62)),
    "RV": _Ranges((95, 140), (52, 62), (75, 110), (210, 280), (18, 31)),
}


def draw_heart(group: str, rng: np.random.Generator) -> Heart:
    """Heart of a disease group with measures drawn from the group's ranges.

    Args:
        group: One of `GROUPS`.
        rng: Source of all its numbers.

    Returns:
        The heart, its RV towards the negative first axis within some 25 degrees.
    """
    ranges = _RANGES[group]
    lv_edv, lv_ef, mass, rv_edv, rv_ef = (
        rng.uniform(*ends)
        for ends in (
            ranges.lv_edv_ml,
            ranges.lv_ef_percent,
            ranges.mass_g,
            ranges.rv_edv_ml,
            ranges.rv_ef_percent,
        )
    )
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
