"""Explores a dataset of hearts: an HTML page, a table, and TensorBoard entries."""

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import atomic_path, output_folder, write_json, write_text
from pipelines.core.progress import Progress
from pipelines.core.records import Dataset
from pipelines.exploration.heart_survey import NEARLY_SAME_HEARTS, HeartSurvey, survey_hearts
from pipelines.exploration.section_shift import Shift, groups_by_section, section_shifts
from pipelines.exploration.survey_decisions import Finding
from pipelines.exploration.survey_features import told
from pipelines.exploration.survey_findings import kinds_of_label_findings, survey_findings
from pipelines.exploration.survey_outliers import Outlier, find_outliers
from pipelines.reporting.heart_eda_figures import survey_figures
from pipelines.reporting.heart_eda_page import page_sections
from pipelines.reporting.heart_eda_pictures import odd_label_pictures, outlier_pictures, samples_figure
from pipelines.reporting.html import Picture, write_report

PAGE_NAME: Final = "eda.html"
TABLE_NAME: Final = "survey.csv"
CONTENT_NAME: Final = "eda.json"
SAMPLES: Final = "Samples"
DPI: Final = 100


@dataclass(frozen=True, slots=True)
class Exploration:
    """What was found in a dataset.

    Attributes:
        survey: What was measured.
        frame: A row per volume.
        findings: What needs a decision, the most urgent first.
        outliers: Volumes far from the others.
        shifts: Features by section, empty without a split.
    """

    survey: HeartSurvey
    frame: pd.DataFrame
    findings: list[Finding]
    outliers: list[Outlier]
    shifts: list[Shift]


def explore_hearts(
    dataset: Dataset,
    output: Path,
    *,
    name: str,
    sections: Mapping[str, str] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Exploration:
    """Measure every volume of a dataset; write a page, tables and TensorBoard entries.

    Labels of the section `"test"` are not opened.

    Args:
        dataset: As a reader yields it.
        output: Folder for `eda.html`, `survey.csv` (a row per volume), `eda.json` and
            `tensorboard/`; made if it does not exist.
        name: Name of the dataset, for the title.
        sections: Section of the split by patient.
        seed: Seed of the patients drawn as samples.
        progress: Called with patients done, patients in all and the patient's name.

    Raises:
        DataError: If no image can be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    survey = survey_hearts(dataset, sections=sections, progress=progress)
    frame = survey.frame()
    outliers = find_outliers(frame)
    shifts = section_shifts(frame)
    findings = survey_findings(survey, frame, outliers, shifts)
    found = Exploration(survey, frame, findings, outliers, shifts)
    figures = survey_figures(frame)
    figures[SAMPLES] = samples_figure(survey, np.random.default_rng(seed))
    write_text(output / TABLE_NAME, frame.to_csv(index=False))
    write_json(output / CONTENT_NAME, _content(found, name))
    with tempfile.TemporaryDirectory() as folder:
        pictures = {title: _saved(figure, title, Path(folder)) for title, figure in figures.items()}
        _write_events(output / "tensorboard", found, pictures)
        overlays = {
            "outliers": outlier_pictures(survey, outliers, Path(folder)),
            "labels": odd_label_pictures(survey, frame, Path(folder)),
        }
        lead = (
            f"{len(frame)} volumes of {frame.patient.nunique()} patients. The page holds pictures of them: "
            "the dataset's terms say who may see it."
        )
        write_report(
            output / PAGE_NAME,
            title=f"Exploring {name}",
            lead=lead,
            sections=page_sections(
                survey, frame, findings, outliers, shifts, pictures=pictures, overlays=overlays
            ),
        )
    return found


def _content(found: Exploration, name: str) -> dict[str, Any]:
    frame = found.frame
    return {
        "dataset": name,
        "patients": int(frame.patient.nunique()),
        "volumes": len(frame),
        "labels": frame.label.value_counts().to_dict(),
        "groups": frame.drop_duplicates("patient").group.value_counts().sort_index().to_dict(),
        "sections": groups_by_section(frame) if frame.section.any() else {},
        "findings": [asdict(finding) for finding in found.findings],
        "label_findings": dict(kinds_of_label_findings(frame).most_common()),
        "features": {
            feature.name: {
                "volumes": int(frame[feature.name].notna().sum()),
                **{
                    word: float(frame[feature.name].quantile(share))
                    for word, share in (
                        ("least", 0),
                        ("p5", 0.05),
                        ("median", 0.5),
                        ("p95", 0.95),
                        ("most", 1),
                    )
                },
            }
            for feature in told(frame)
        },
        "outliers": [
            {"volume": found.survey.volumes[outlier.index].name, **asdict(outlier)}
            for outlier in found.outliers
        ],
        "shifts": [asdict(shift) for shift in found.shifts],
        "implausible_phases": [list(pair) for pair in found.survey.odd_patients],
        "copies": [[found.survey.volumes[index].name for index in pair] for pair in found.survey.copies],
        "near_duplicates": [
            [found.survey.volumes[index].name for index in pair] for pair in found.survey.near
        ],
        "most_alike": found.survey.most_alike,
        "nearly_same_from": NEARLY_SAME_HEARTS,
        "put_aside": [
            {"patient": problem.patient, "file": problem.path.name, "reason": problem.reason}
            for problem in found.survey.problems
        ],
    }


def _write_events(folder: Path, found: Exploration, pictures: Mapping[str, Picture]) -> None:
    with SummaryWriter(str(folder)) as writer:
        for title, picture in pictures.items():
            writer.add_image(title, np.asarray(Image.open(picture.path).convert("RGB")), dataformats="HWC")
        for feature in told(found.frame):
            values = found.frame[feature.name].dropna()
            writer.add_histogram(feature.name, values.to_numpy())
        lines = [f"- **{finding.urgency}**: {finding.found} {finding.decide}" for finding in found.findings]
        writer.add_text("findings that need a decision", "\n".join(lines) or "none")


def _saved(figure: Figure, title: str, folder: Path) -> Picture:
    path = folder / f"{title.replace(' ', '_')}.png"
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)
    return Picture(path, alt=title, caption=title)
