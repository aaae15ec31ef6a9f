"""Agreement of the wall's figures from predicted masks with those from true ones."""

from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import numpy as np

from pipelines.core.records import Phase
from pipelines.core.wall import Rings, Wall, measure_wall
from pipelines.evaluation.statistics import FloatArray, agreement

Walls = tuple[Rings, Rings]
"""Rings of the predicted mask and of the true one, of one volume."""


def wall_agreement(rings: Iterable[tuple[str, Phase, Walls]]) -> dict[str, dict[str, Any]]:
    """Mean error, bias, limits of agreement and correlation of each figure of the wall.

    Args:
        rings: Patient, phase and rings of each volume.

    Returns:
        By the names of `indices.csv`; those of segments are pooled over patients and segments. `pairs` is
        the number of values; figures that fewer than two patients have are left out.
    """
    by_patient: dict[str, dict[Phase, Walls]] = {}
    for patient, phase, of_volume in rings:
        by_patient.setdefault(patient, {})[phase] = of_volume
    pairs: dict[str, list[tuple[float, float]]] = {}
    for phases in by_patient.values():
        if len(phases) < len(Phase):
            continue
        found = [_values(measure_wall(*(phases[phase][side] for phase in Phase))) for side in (0, 1)]
        for name, measured in found[0].items():
            truth = found[1][name]
            pairs.setdefault(name, []).extend(
                (one, other)
                for one, other in zip(measured, truth, strict=True)
                if one is not None and other is not None
            )
    result = {}
    for name, values in pairs.items():
        if len(values) > 1:
            measured, truth = np.array(values).T
            figures = agreement(measured, truth, np.ones((1, len(values))))
            result[name] = {"pairs": len(values)} | {
                key: [_figure(end) for end in value] if isinstance(value, list) else _figure(value)
                for key, value in figures.items()
            }
    return result


def _figure(value: FloatArray) -> float | None:
    return float(value[0]) if np.isfinite(value[0]) else None


def _values(wall: Wall) -> dict[str, tuple[float | None, ...]]:
    return {
        **{f"wall_{name}": (getattr(wall, name),) for name in ("mean_ed_mm", "mean_es_mm", "max_ed_mm")},
        **{f"strain_{name}": (value,) for name, value in asdict(wall.strain).items()},
        "segment_wall_ed_mm": wall.ed_mm,
        "segment_wall_es_mm": wall.es_mm,
        "segment_thickening_percent": wall.thickening_percent,
        "segment_wall_motion_mm": wall.motion_mm,
    }
