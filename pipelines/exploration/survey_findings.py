"""All that a survey found and somebody has to decide on, the most urgent first."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Final

import pandas as pd

from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.exploration.heart_survey import HeartSurvey
from pipelines.exploration.image_findings import image_findings
from pipelines.exploration.section_shift import SIGNIFICANT, Shift
from pipelines.exploration.survey_decisions import Finding, Urgency, counted, listed
from pipelines.exploration.survey_features import FEATURE_BY_NAME
from pipelines.exploration.survey_outliers import Outlier

UNEVEN_GROUPS: Final = 1.5
"""Ratio of the largest to the smallest group from which their imbalance is worth a decision."""

RARE_CLASS: Final = 0.05
"""Share of a structure in all voxels below which the loss has to make up for it."""


def survey_findings(
    survey: HeartSurvey, frame: pd.DataFrame, outliers: Sequence[Outlier], shifts: Sequence[Shift]
) -> list[Finding]:
    """Findings that need a decision, the most urgent first.

    Args:
        survey: What was measured.
        frame: Its table, as `HeartSurvey.frame` gives it.
        outliers: As from `find_outliers`.
        shifts: As from `section_shifts`, empty without a split.
    """
    found = [
        *_put_aside(survey),
        *_phases(survey),
        *_missing_labels(frame),
        *_duplicates(survey),
        *image_findings(frame),
        *_groups(frame),
        *_classes(frame),
        *_sections(frame, shifts),
        *_label_quality(frame),
        *_outliers(frame, outliers),
    ]
    return sorted(found, key=lambda finding: list(Urgency).index(finding.urgency))


def kinds_of_label_findings(frame: pd.DataFrame) -> Counter[str]:
    """Number of volumes with each kind of label finding: its sentence without the figures."""
    return Counter(
        kind for cell in frame.label_findings for kind in {_kind(text) for text in cell.split("; ") if text}
    )


def _kind(text: str) -> str:
    without = re.sub(r"\s*\([^)]*\)", "", text)
    without = re.sub(r"slices? \d+(, \d+)*", "a slice", without)
    return re.sub(r"\d+(\.\d+)?", "…", without)


def _put_aside(survey: HeartSurvey) -> Iterator[Finding]:
    if survey.problems:
        patients = [problem.patient for problem in survey.problems]
        yield Finding(
            Urgency.STOPS,
            f"{counted(len(survey.problems), 'volume or patient')} would be put aside: {listed(patients)}. "
            "The reasons stand under 'Put aside'.",
            "Repair the files, or go on without them and say so.",
        )


def _phases(survey: HeartSurvey) -> Iterator[Finding]:
    if survey.odd_patients:
        patients = {patient for patient, _ in survey.odd_patients}
        shown = "; ".join(f"{patient}: {text}" for patient, text in survey.odd_patients[:3])
        yield Finding(
            Urgency.STOPS,
            f"ED and ES are implausible in {counted(len(patients), 'patient')}: {shown}.",
            "Look at both phases: swap them, correct the labels, or leave the patient out.",
        )


def _missing_labels(frame: pd.DataFrame) -> Iterator[Finding]:
    missing = frame[frame.label == "missing"]
    if len(missing):
        yield Finding(
            Urgency.STOPS,
            f"{len(missing)} of {len(frame)} volumes have no label: {listed(list(missing.patient))}.",
            "Label them ('thorax serve'), or keep them for training without labels.",
        )


def _duplicates(survey: HeartSurvey) -> Iterator[Finding]:
    volumes = survey.volumes
    for words, pairs in (("the same image", survey.copies), ("nearly the same image", survey.near)):
        between = [pair for pair in pairs if len({volumes[index].record.patient for index in pair}) == 2]
        within = [pair for pair in pairs if pair not in between]
        for kind, chosen in (("different patients", between), ("one patient", within)):
            if not chosen:
                continue
            names = [f"{volumes[i].name} and {volumes[j].name}" for i, j in chosen]
            leaks = sum(len({volumes[index].section for index in pair}) == 2 for pair in chosen)
            leak = f" Pairs that cross the sections of the split: {leaks}." if leaks else ""
            yield Finding(
                Urgency.STOPS,
                f"{counted(len(chosen), 'pair')} of volumes of {kind} are {words}: {listed(names)}.{leak}",
                "Keep one, or give both patients to one section: otherwise the test has been seen."
                if kind == "different patients"
                else "Find the true frame of one of the phases, or leave the patient out.",
            )


def _groups(frame: pd.DataFrame) -> Iterator[Finding]:
    counts = frame.drop_duplicates("patient").group.value_counts()
    shown = ", ".join(f"{group} {count}" for group, count in counts.sort_index().items())
    if len(counts) == 1:
        yield Finding(
            Urgency.NOTE,
            f"All patients are of one group ({shown}).",
            "Results by group are not possible; say for whom the model is made.",
        )
    elif counts.max() / counts.min() > UNEVEN_GROUPS:
        yield Finding(
            Urgency.METHOD,
            f"Groups differ in size: {shown} patients.",
            "Stratify the split by group ('thorax prepare' does), and report the mean over groups too.",
        )


def _classes(frame: pd.DataFrame) -> Iterator[Finding]:
    read = frame[frame.label == "read"]
    total = float(read[[f"{name}_voxels" for name in LABEL_NAMES.values()]].sum().sum())
    if not total:
        return
    shares = {label.name: float(read[f"{LABEL_NAMES[label]}_voxels"].sum()) / total for label in FOREGROUND}
    if min(shares.values()) < RARE_CLASS:
        shown = ", ".join(f"{name} {share:.1%}" for name, share in shares.items())
        yield Finding(
            Urgency.METHOD,
            f"Background is {1 - sum(shares.values()):.1%} of the voxels; {shown}.",
            "A loss that counts overlap (Dice with cross-entropy), and patches that hold the heart.",
        )


def _sections(frame: pd.DataFrame, shifts: Sequence[Shift]) -> Iterator[Finding]:
    if not frame.section.any():
        return
    outside = frame[frame.section == ""]
    if len(outside):
        yield Finding(
            Urgency.NOTE,
            f"{counted(outside.patient.nunique(), 'patient')} of the folder in no section of the datalist: "
            f"{listed(list(outside.patient))}.",
            "Prepare again if they should be.",
        )
    different = [shift for shift in shifts if shift.p_holm < SIGNIFICANT]
    if different:
        shown = "; ".join(
            f"{FEATURE_BY_NAME[shift.feature].words}, {shift.first} and {shift.second}"
            for shift in different[:4]
        )
        yield Finding(
            Urgency.METHOD,
            f"Sections differ in {counted(len(different), 'comparison')} after Holm's correction: {shown}.",
            "Draw the split anew, stratified by acquisition too, or report the test as a shift of domain.",
        )


def _label_quality(frame: pd.DataFrame) -> Iterator[Finding]:
    odd = frame[frame.label_findings != ""]
    if len(odd):
        kinds = kinds_of_label_findings(frame).most_common(4)
        shown = "; ".join(f"{kind} ({count})" for kind, count in kinds)
        yield Finding(
            Urgency.METHOD,
            f"Labels of {len(odd)} of {int((frame.label == 'read').sum())} volumes are odd somewhere, "
            f"mostly: {shown}.",
            "Look at the pictures: correct the labels ('thorax serve'), or accept them as the way of this "
            "dataset and let no post-processing forbid it.",
        )


def _outliers(frame: pd.DataFrame, outliers: Sequence[Outlier]) -> Iterator[Finding]:
    if outliers:
        rows = frame.loc[[outlier.index for outlier in outliers]]
        yield Finding(
            Urgency.NOTE,
            f"{counted(rows.index.nunique(), 'volume')} are outliers in some feature: "
            f"{listed(list(rows.patient))}.",
            "Look at the pictures: a fault is repaired or left out, a rare heart is kept.",
        )
