"""One evaluated volume: its metrics and volumes, as a row and as a JSON object."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import DataError, cause
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.records import Phase
from pipelines.evaluation.metrics import METRIC_NAMES, StructureMetrics


@dataclass(frozen=True, slots=True)
class Case:
    """A labelled volume that was segmented and measured.

    Attributes:
        patient: Identifier of the patient.
        group: Disease group, `"unknown"` where the dataset tells none.
        phase: End-diastole or end-systole.
        frame: Number of the frame in the cine, 1-based.
        metrics: Metrics of each foreground structure.
        predicted_ml: Volume of each foreground structure in the prediction, mL.
        truth_ml: Volume of each structure that the label tells of, mL.
        seconds: Wall time of the prediction in seconds, reading apart.
    """

    patient: str
    group: str
    phase: Phase
    frame: int
    metrics: Mapping[AcdcLabel, StructureMetrics]
    predicted_ml: Mapping[AcdcLabel, float]
    truth_ml: Mapping[AcdcLabel, float]
    seconds: float

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Case":
        """The case that `as_json` wrote."""
        names = {label: LABEL_NAMES[label] for label in FOREGROUND}
        return cls(
            patient=content["patient"],
            group=content["group"],
            phase=Phase(content["phase"]),
            frame=content["frame"],
            metrics={
                label: StructureMetrics(
                    **{metric: content[metric][name] for metric in METRIC_NAMES},
                    absent_from=content["absent_from"][name],
                )
                for label, name in names.items()
            },
            predicted_ml={label: content["volume_ml"][name]["predicted"] for label, name in names.items()},
            truth_ml={label: content["volume_ml"][name]["truth"] for label, name in names.items()},
            seconds=content["seconds"],
        )

    @property
    def name(self) -> str:
        """Patient and phase, e.g. `"patient001_ED"`."""
        return f"{self.patient}_{self.phase}"

    def value(self, metric: str, label: AcdcLabel) -> float | None:
        """One metric of one structure; None where it is not defined."""
        figure: float | None = getattr(self.metrics[label], metric)
        return figure

    def mean(self, metric: str) -> float | None:
        """Mean of one metric over the structures that have it; None if none has."""
        values = [value for label in FOREGROUND if (value := self.value(metric, label)) is not None]
        return sum(values) / len(values) if values else None

    def as_json(self) -> dict[str, Any]:
        """The case as it stands in `metrics.json`; undefined metrics are None."""
        content: dict[str, Any] = {
            "patient": self.patient,
            "group": self.group,
            "phase": str(self.phase),
            "frame": self.frame,
        }
        for metric in METRIC_NAMES:
            content[metric] = {LABEL_NAMES[label]: self.value(metric, label) for label in FOREGROUND}
            content[metric]["mean"] = self.mean(metric)
        content["absent_from"] = {LABEL_NAMES[label]: self.metrics[label].absent_from for label in FOREGROUND}
        content["volume_ml"] = {
            LABEL_NAMES[label]: {"predicted": self.predicted_ml[label], "truth": self.truth_ml.get(label)}
            for label in FOREGROUND
        }
        content["seconds"] = self.seconds
        return content

    def as_row(self) -> dict[str, Any]:
        """The case as a flat row of `metrics.csv`, e.g. `dice_lv`; undefined is None."""
        row: dict[str, Any] = {}
        for key, value in self.as_json().items():
            if key == "volume_ml":
                for name, pair in value.items():
                    row[f"volume_{name}_ml_predicted"] = pair["predicted"]
                    row[f"volume_{name}_ml_truth"] = pair["truth"]
            elif isinstance(value, dict):
                row |= {f"{key}_{name}": figure for name, figure in value.items()}
            else:
                row[key] = value
        return row


def read_cases(path: Path) -> list[Case]:
    """Cases of an evaluation, in the order they were measured.

    Args:
        path: `metrics.json` of `thorax evaluate`, or a file with the same `cases`.

    Raises:
        DataError: If there is no such file, or it holds no cases of this version.
    """
    try:
        cases = [Case.from_json(case) for case in json.loads(path.read_text(encoding="utf-8"))["cases"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"expected an evaluation of hearts with its cases at {path}, found {cause(error)}; measure with "
            "'thorax evaluate'"
        ) from error
    if not cases:
        raise DataError(f"expected an evaluation with a case, found none in {path}; measure again")
    return cases
