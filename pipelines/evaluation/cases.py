"""One evaluated volume: its metrics and volumes, as a row and as a JSON object."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipelines.datasets.records import Phase
from pipelines.evaluation.metrics import METRIC_NAMES, StructureMetrics
from pipelines.labels import FOREGROUND, LABEL_NAMES, AcdcLabel


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
