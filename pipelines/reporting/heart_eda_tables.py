"""Tables of a heart survey."""

from collections.abc import Iterable, Sequence

import pandas as pd

from pipelines.core.labels import LABEL_NAMES, AcdcLabel
from pipelines.core.records import Phase
from pipelines.exploration.heart_survey import HeartSurvey
from pipelines.exploration.section_shift import SECTIONS, Shift, groups_by_section
from pipelines.exploration.survey_decisions import Finding
from pipelines.exploration.survey_features import FEATURE_BY_NAME, Feature, told
from pipelines.exploration.survey_findings import kinds_of_label_findings
from pipelines.exploration.survey_outliers import Outlier
from pipelines.reporting.html import Cell, Table

MOST_LINES = 40
"""Rows of the long tables; the rest stands in `survey.csv` and `eda.json`."""

MOST_SETTINGS = 12
"""Acquisition settings that the page lists."""

PERCENTILES = (0.0, 0.05, 0.5, 0.95, 1.0)


def findings_table(findings: Sequence[Finding]) -> Table:
    """Findings that need a decision, in their order."""
    rows = [[finding.urgency.value, finding.found, finding.decide] for finding in findings]
    return Table("Findings that need a decision, the most urgent first", ["", "found", "to decide"], rows)


def counts_table(frame: pd.DataFrame) -> Table:
    """Patients, volumes and labels of each group, and of all."""
    rows: list[list[Cell]] = []
    parts: list[tuple[str, pd.DataFrame]] = [(str(name), part) for name, part in frame.groupby("group")]
    for name, part in [*parts, ("all", frame)]:
        phases = [int((part.phase == phase.value).sum()) for phase in Phase]
        states = [int((part.label == state).sum()) for state in ("read", "missing", "unusable", "held out")]
        rows.append([name, int(part.patient.nunique()), *phases, *states])
    header = ["group", "patients", "ED", "ES", "labels read", "missing", "unusable", "held out"]
    return Table("Patients and volumes", header, rows)


def ranges_table(frame: pd.DataFrame, features: Iterable[Feature]) -> Table:
    """Percentiles over volumes of each feature that the dataset tells."""
    rows: list[list[Cell]] = []
    for feature in features:
        values = frame[feature.name].dropna()
        if len(values):
            shown = (feature.shown(float(values.quantile(share))) for share in PERCENTILES)
            rows.append([feature.words, len(values), *shown])
    return Table("Percentiles over volumes", ["", "volumes", "least", "5%", "median", "95%", "most"], rows)


def settings_table(frame: pd.DataFrame) -> Table:
    """Combinations of acquisition settings, the most frequent first, with the groups they come from."""
    patients = frame.drop_duplicates("patient").copy()
    patients["setting"] = [
        f"{row.columns_px:.0f} × {row.rows_px:.0f}, {row.pixel_x_mm:.2f} mm, "
        f"slices {row.slice_distance_mm:g} mm"
        for row in patients.itertuples()
    ]
    groups = sorted(patients.group.unique())
    rows: list[list[Cell]] = []
    for setting, count in patients.setting.value_counts().items():
        members = patients[patients.setting == setting]
        rows.append([str(setting), int(count), *(int((members.group == group).sum()) for group in groups)])
    caption = "Patients with the same matrix, pixel spacing and slice distance"
    return _capped(caption, ["", "patients", *groups], rows, MOST_SETTINGS)


def orientation_table(frame: pd.DataFrame) -> Table:
    """Where the axes of the files point, and whether the headers hold a place in the scanner."""
    rows: list[list[Cell]] = []
    for (axes, oblique, placed), part in frame.groupby(["orientation", "is_oblique", "has_position"]):
        words = "oblique" if oblique else "along the scanner's axes"
        rows.append([str(axes), words, "yes" if placed else "no", len(part)])
    return Table(
        "Orientation of the files", ["axes point to", "", "place or turn in the header", "volumes"], rows
    )


def volumes_table(frame: pd.DataFrame) -> Table:
    """Mean voxels and volume of each structure by group and phase."""
    read = frame[frame.label == "read"]
    labels = [label for label in AcdcLabel if label and read[f"{LABEL_NAMES[label]}_ml"].notna().any()]
    rows: list[list[Cell]] = []
    for (group, phase), part in read.groupby(["group", "phase"]):
        cells: list[Cell] = [f"{group} {phase}", len(part)]
        for label in labels:
            ml = part[f"{LABEL_NAMES[label]}_ml"]
            spread = f" ± {ml.std():.0f}" if len(ml) > 1 else ""
            cells += [f"{part[f'{LABEL_NAMES[label]}_voxels'].mean():.0f}", f"{ml.mean():.0f}{spread}"]
        rows.append(cells)
    header = ["", "volumes"]
    for label in labels:
        header += [f"{label.name} voxels", f"{label.name} mL"]
    return Table("Structures by group and phase: mean, and SD of the volumes", header, rows)


def classes_table(frame: pd.DataFrame) -> Table:
    """Share of each label in all voxels, by phase."""
    read = frame[frame.label == "read"]
    columns = [f"{LABEL_NAMES[label]}_voxels" for label in AcdcLabel]
    rows: list[list[Cell]] = []
    for phase, part in read.groupby("phase"):
        sums = part[columns].sum()
        rows.append([str(phase), *(f"{100 * value / sums.sum():.2f}" for value in sums)])
    return Table("Share of the voxels, %", ["", *(label.name for label in AcdcLabel)], rows)


def kinds_table(frame: pd.DataFrame) -> Table:
    """Number of volumes with each kind of label finding."""
    rows: list[list[Cell]] = [[kind, count] for kind, count in kinds_of_label_findings(frame).most_common()]
    return Table("Label findings by kind", ["finding", "volumes"], rows)


def label_findings_table(frame: pd.DataFrame) -> Table:
    """Label findings volume by volume."""
    odd = frame[frame.label_findings != ""]
    rows: list[list[Cell]] = [
        [f"{row.patient} {row.phase}", str(row.group), str(row.label_findings)] for row in odd.itertuples()
    ]
    return _capped("Label findings", ["volume", "group", "findings"], rows)


def phases_table(survey: HeartSurvey) -> Table:
    """Patients whose ED and ES do not fit together."""
    return Table(
        "Implausible ED and ES", ["patient", "finding"], [list(pair) for pair in survey.odd_patients]
    )


def outliers_table(frame: pd.DataFrame, outliers: Sequence[Outlier]) -> Table:
    """Outliers, the farthest first."""
    rows: list[list[Cell]] = []
    for outlier in outliers:
        feature, row = FEATURE_BY_NAME[outlier.feature], frame.loc[outlier.index]
        figures = (feature.shown(value) for value in (outlier.value, outlier.median))
        rows.append(
            [f"{row.patient} {row.phase}", str(row.group), feature.words, *figures, outlier.z, outlier.among]
        )
    return _capped("Outliers", ["volume", "group", "feature", "value", "median", "robust z", "among"], rows)


def shifts_table(shifts: Sequence[Shift]) -> Table:
    """Each feature in each pair of sections."""
    rows: list[list[Cell]] = []
    for shift in shifts:
        feature = FEATURE_BY_NAME[shift.feature]
        medians = (feature.shown(value) for value in (shift.median_first, shift.median_second))
        distance = None if shift.distance_sd is None else f"{shift.distance_sd:+.2f}"
        sections = f"{shift.first}, {shift.second}"
        rows.append([feature.words, sections, *medians, distance, f"{shift.ks:.2f}", f"{shift.p_value:.3f}",
                     f"{shift.p_holm:.3f}"])  # fmt: skip
    header = ["feature", "sections", "median", "median", "distance, SD", "KS", "p", "p, Holm"]
    return Table("Images of the sections", header, rows)


def sections_table(frame: pd.DataFrame) -> Table:
    """Patients by group and section."""
    rows: list[list[Cell]] = [
        [group, *(counts[section] for section in SECTIONS)]
        for group, counts in groups_by_section(frame).items()
    ]
    return Table("Patients by group and section", ["group", *SECTIONS], rows)


def pairs_table(survey: HeartSurvey) -> Table:
    """Pairs of volumes that are the same, or nearly."""
    pairs = [("exact", *pair) for pair in survey.copies] + [("near", *pair) for pair in survey.near]
    rows: list[list[Cell]] = []
    for kind, first, second in pairs:
        one, two = survey.volumes[first], survey.volumes[second]
        sections = ", ".join(dict.fromkeys(filter(None, (one.section, two.section))))
        rows.append([kind, one.name, two.name, sections])
    return _capped("Pairs of the same image", ["", "first", "second", "sections"], rows)


def problems_table(survey: HeartSurvey) -> Table:
    """What could not be read, or what `thorax prepare` would leave out."""
    rows: list[list[Cell]] = [
        [problem.patient, problem.path.name, problem.reason] for problem in survey.problems
    ]
    return _capped("Put aside", ["patient", "file", "reason"], rows)


def patients_listing(frame: pd.DataFrame) -> str:
    """Intensity, noise and ratios of every patient, in columns."""
    names = ["intensity_median", "intensity_p99", "noise_sd", "snr_image", "snr_blood", "snr_pool", "cnr"]
    names = [feature.name for feature in told(frame) if feature.name in names]
    table = frame.set_index(["patient", "phase"])[["group", *names]]
    return str(table.round(2).to_string(na_rep="-"))


def _capped(
    caption: str, header: Sequence[str], rows: Sequence[Sequence[Cell]], most: int = MOST_LINES
) -> Table:
    more = f", the first {most} of {len(rows)}" if len(rows) > most else ""
    return Table(caption + more, header, rows[:most])
