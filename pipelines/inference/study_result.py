"""What a segmentation run found in each study."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

from pipelines.core.cardiac_figures import CardiacFigures, Normal, PatientFacts, RateSource
from pipelines.core.cine import Rates
from pipelines.core.indices import CardiacIndices, indices_from_volumes
from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Problem
from pipelines.core.wall import SEGMENTS, Wall
from pipelines.evaluation.segmentation import MEAN, STRUCTURES


@dataclass(slots=True)
class StudyResult:
    """What was measured in one study.

    Attributes:
        study: Name of the study, which its files begin with.
        patient: Identifier as the source gives it: of a file its own name, in any script.
        indices: Volumes, ejection fractions and mass; None where not known.
        volumes_ml: Volumes in mL of a single volume of unknown phase, else empty.
        frame_ed: Frame of ED in the cine, 1-based, or None.
        frame_es: Frame of ES in the cine, 1-based, or None.
        reason: Why an index is None, `""` if none is.
        warnings: Plausibility warnings in plain words.
        files: Files written, label maps first.
        path: File or folder that was read, None if it is not known.
        quality: Predicted Dice of each structure and their `mean`, of the worse volume; empty if not judged.
        facts: What is known of the patient.
        rate_source: Where the heart rate comes from, and with it cardiac output; None if it is not known.
        figures: Indices by body surface and by minute.
        rates: Rates of the LV of a cine with a known time between frames, else None.
        wall: Thickness, thickening, motion and strain of the LV's wall.
        normal: Normal ranges by the names of `values`, for those that have one.
        normal_reason: Why there are no normal ranges, `""` if there are.
        pictures: Pictures for a page by their kind; empty unless they were asked for.
    """

    study: str
    patient: str
    indices: CardiacIndices = field(default_factory=lambda: indices_from_volumes(None, None))
    volumes_ml: Mapping[AcdcLabel, float] = field(default_factory=dict)
    frame_ed: int | None = None
    frame_es: int | None = None
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)
    path: Path | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    facts: PatientFacts = field(default_factory=PatientFacts)
    rate_source: RateSource | None = None
    figures: CardiacFigures = field(default_factory=CardiacFigures)
    rates: Rates | None = None
    wall: Wall = field(default_factory=Wall)
    normal: Mapping[str, Normal] = field(default_factory=dict)
    normal_reason: str = ""
    pictures: dict[str, Path] = field(default_factory=dict)

    def values(self) -> dict[str, float | None]:
        """Figures of the whole heart by names that end in their unit; None for what is not known."""
        indices = asdict(self.indices)
        del indices["reason"]
        return {
            **indices,
            **asdict(self.figures),
            **{f"lv_{one.name}": getattr(self.rates, one.name, None) for one in fields(Rates)},
            "wall_mean_ed_mm": self.wall.mean_ed_mm,
            "wall_mean_es_mm": self.wall.mean_es_mm,
            "wall_max_ed_mm": self.wall.max_ed_mm,
            **{f"strain_{name}": value for name, value in asdict(self.wall.strain).items()},
        }

    def segments(self) -> dict[str, float | None]:
        """Figures of the 16 AHA segments, e.g. `wall_ed_mm_01`; None for what is not known."""
        columns = {
            "wall_ed_mm": self.wall.ed_mm,
            "wall_es_mm": self.wall.es_mm,
            "thickening_percent": self.wall.thickening_percent,
            "wall_motion_mm": self.wall.motion_mm,
        }
        return {f"{name}_{n + 1:02d}": found[n] for name, found in columns.items() for n in range(SEGMENTS)}

    def as_row(self) -> dict[str, Any]:
        """The result as a row of `indices.csv`; what is not known is None."""
        outside = [f"{name} (z {one.z:+.1f})" for name, one in self.normal.items() if one.is_outside]
        return {
            "patient": self.patient,
            "study": self.study,
            "path": None if self.path is None else str(self.path),
            **_rounded(self.values()),
            "heart_rate_source": self.rate_source and str(self.rate_source),
            "frame_ed": self.frame_ed,
            "frame_es": self.frame_es,
            **{
                f"{label.name.lower()}_ml_unknown_phase": round(self.volumes_ml[label], 2)
                if self.volumes_ml
                else None
                for label in (AcdcLabel.LV, AcdcLabel.RV, AcdcLabel.MYO)
            },
            **{
                f"predicted_dice_{name}": round(self.quality[name], 3) if self.quality else None
                for name in (*STRUCTURES, MEAN)
            },
            **_rounded(self.segments()),
            "outside_normal": "; ".join(outside),
            "normal_reason": self.normal_reason,
            "wall_reason": self.wall.reason,
            "reason": self.reason,
            "warnings": "; ".join(self.warnings),
        }


def _rounded(values: Mapping[str, float | None]) -> dict[str, float | None]:
    return {name: None if value is None else round(value, 2) for name, value in values.items()}


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """Outcome of a run.

    Attributes:
        output: Folder with the results.
        results: One result for each study that was segmented.
        problems: What was skipped, and why.
        passed_over: Files that are no images: label maps, and formats that are not read.
    """

    output: Path
    results: list[StudyResult]
    problems: list[Problem]
    passed_over: list[Problem] = field(default_factory=list)
