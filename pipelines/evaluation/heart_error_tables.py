"""Tables of an error analysis: by position, phase, group and image, and agreement of the indices."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final

import numpy as np

from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.evaluation.agreement import measure_agreement
from pipelines.evaluation.cases import Case
from pipelines.evaluation.error_factors import Observation, correlations, level_table, thirds
from pipelines.evaluation.heart_errors import HeartErrors, HeartVolume
from pipelines.evaluation.observer_limits import figures_of
from pipelines.evaluation.slice_errors import Position, SliceError, pooled_dice
from pipelines.evaluation.summary import INDEX_FIELDS, patient_indices

CONTINUOUS: Final = {
    "pixel spacing": "mm",
    "slice spacing": "mm",
    "contrast": "SD",
    "heart size": "mL",
}
"""Continuous factors and their units: contrast is that of the LV's blood against the myocardium,
heart size the largest labelled volume of RV, myocardium and LV together over the patient's phases."""

MEAN: Final = "mean"
"""Name of the mean over the structures."""


def error_tables(found: HeartErrors) -> dict[str, Any]:
    """Content of `errors.json`, which the page and its figures are made from.

    Args:
        found: Measured volumes, at least one.

    Returns:
        `levels` and `correlations` of Dice with factors, `one_sided` (slices missed and invented),
        `agreement` of the indices with `observers`, `calibration`, `volumes` and `problems`.
    """
    values = _factor_values(found.volumes)
    cut = {name: thirds(values[name], unit) for name, unit in CONTINUOUS.items()}
    by_volume = _volume_observations(found.volumes, values, cut)
    levels = level_table(_position_observations(found.volumes), "position")
    for factor in dict.fromkeys(name for one in by_volume for name in one.levels):
        levels += level_table(by_volume, factor, names=cut[factor].values() if factor in cut else None)
    structures = [one for one in by_volume if one.structure != MEAN]
    return {
        "patients": len({volume.case.patient for volume in found.volumes}),
        "levels": [asdict(level) for level in levels],
        "correlations": [asdict(one) for one in correlations(structures)],
        "one_sided": _one_sided([part for volume in found.volumes for part in volume.slices]),
        "agreement": _agreement([volume.case for volume in found.volumes]),
        "calibration": found.calibration.as_json(),
        "volumes": [_volume_json(volume) for volume in found.volumes],
        "problems": [asdict(problem) for problem in found.problems],
    }


def _volume_observations(
    volumes: Sequence[HeartVolume],
    values: Mapping[str, Mapping[str, float]],
    cut: Mapping[str, Mapping[str, str]],
) -> list[Observation]:
    # The order in which levels are told is that of their first appearance.
    order = sorted(volumes, key=lambda volume: (volume.case.phase, volume.case.group))
    observations = []
    for volume in order:
        case = volume.case
        levels = {"phase": str(case.phase), "group": case.group}
        levels |= {name: cut[name][case.name] for name in CONTINUOUS if case.name in cut[name]}
        own = {name: values[name][case.name] for name in CONTINUOUS}
        dice = {LABEL_NAMES[label]: case.value("dice", label) for label in FOREGROUND}
        for structure, value in (dice | {MEAN: case.mean("dice")}).items():
            observations.append(Observation(case.patient, structure, value, levels, own))
    return observations


def _factor_values(volumes: Sequence[HeartVolume]) -> dict[str, dict[str, float]]:
    """Value of each factor of each volume; the heart's size is one for all phases of a patient."""
    values = {name: {volume.case.name: volume.factors[name] for volume in volumes} for name in CONTINUOUS}
    sizes: dict[str, float] = {}
    for volume in volumes:
        patient = volume.case.patient
        sizes[patient] = max(sizes.get(patient, 0.0), volume.factors["heart size"])
    values["heart size"] = {volume.case.name: sizes[volume.case.patient] for volume in volumes}
    return values


def _position_observations(volumes: Sequence[HeartVolume]) -> list[Observation]:
    return [
        Observation(
            volume.case.patient,
            LABEL_NAMES[label],
            pooled_dice(
                [part for part in volume.slices if (part.position, part.structure) == (place, label)]
            ),
            {"position": str(place)},
        )
        for place in Position
        for label in FOREGROUND
        for volume in volumes
    ]


def _one_sided(slices: Sequence[SliceError]) -> list[dict[str, Any]]:
    """How many slices with a structure in either mask were missed or invented, by position."""
    kinds = Counter((part.structure, part.position, part.kind) for part in slices)
    rows = []
    for label in FOREGROUND:
        for place in Position:
            counts = {kind: kinds[label, place, kind] for kind in ("missed", "invented", "")}
            parts = [part for part in slices if (part.structure, part.position) == (label, place)]
            if parts:
                rows.append(
                    {
                        "structure": LABEL_NAMES[label],
                        "position": str(place),
                        "slices": len(parts),
                        "missed": counts["missed"],
                        "invented": counts["invented"],
                        "error_ml": sum(part.error_ml for part in parts),
                    }
                )
    return rows


def _agreement(cases: Sequence[Case]) -> dict[str, Any]:
    patients = patient_indices(cases)
    found: dict[str, Any] = {}
    for name, field in INDEX_FIELDS.items():
        measured, truth = (
            [getattr(side, field) for side in sides]
            for sides in ([one.predicted for one in patients], [one.truth for one in patients])
        )
        figures = measure_agreement(np.array(measured, np.float64), np.array(truth, np.float64))
        found[name] = {
            "patients": [one.patient for one in patients],
            "groups": [one.group for one in patients],
            "measured": measured,
            "truth": truth,
            "figures": asdict(figures) if figures else None,
            "observers": [asdict(figure) for figure in figures_of(name)],
        }
    return found


def _volume_json(volume: HeartVolume) -> dict[str, Any]:
    case = volume.case
    return {
        "patient": case.patient,
        "group": case.group,
        "phase": str(case.phase),
        "dice": {LABEL_NAMES[label]: case.value("dice", label) for label in FOREGROUND}
        | {MEAN: case.mean("dice")},
        "factors": volume.factors,
        "entropy_auroc": volume.entropy_auroc,
        "reasons": [reason.words for reason in volume.reasons],
    }
