"""What a segmentation run found in each study."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from pipelines.core.indices import CardiacIndices, indices_from_volumes
from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Problem
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

    def as_row(self) -> dict[str, Any]:
        """The result as a row of `indices.csv`; what is not known is None."""
        indices = asdict(self.indices)
        del indices["reason"]
        return {
            "patient": self.patient,
            "study": self.study,
            "path": None if self.path is None else str(self.path),
            **{name: None if value is None else round(value, 2) for name, value in indices.items()},
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
            "reason": self.reason,
            "warnings": "; ".join(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """Outcome of a run.

    Attributes:
        output: Folder with the results.
        results: One result for each study that was segmented.
        problems: What was put aside, and why.
        passed_over: Files that are no images: label maps, and formats that are not read.
    """

    output: Path
    results: list[StudyResult]
    problems: list[Problem]
    passed_over: list[Problem] = field(default_factory=list)
