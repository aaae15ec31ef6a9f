"""What a survey found and somebody has to decide on, the most urgent first."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import combinations
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.stats import ks_2samp

from pipelines.core.errors import DataError
from pipelines.core.plausibility import CENTRAL_WINDOW_MM
from pipelines.core.records import FOREGROUND, LABEL_NAMES
from pipelines.datasets.prepare import Section, select
from pipelines.evaluation.statistics import holm
from pipelines.exploration.heart import FEATURE_BY_NAME, Feature, HeartSurvey, compared, robust_z

MAX_NAMES = 6
"""Names that a sentence lists."""


class Urgency(StrEnum):
    """What happens if nobody decides."""

    STOPS = "before training"
    METHOD = "choice of method"
    NOTE = "to be reported"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        urgency: What happens if nobody decides.
        found: What was found, with figures.
        decide: What there is to decide.
    """

    urgency: Urgency
    found: str
    decide: str


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first `MAX_NAMES` of them, each once."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - MAX_NAMES} more" if len(distinct) > MAX_NAMES else ""
    return ", ".join(distinct[:MAX_NAMES]) + more


def counted(count: int, noun: str) -> str:
    """A number with its noun, e.g. `"1 volume"`, `"2 volumes"`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


UNEVEN_SPACING: Final = 1.1
"""Ratio of the largest to the least pixel spacing from which a common one is worth a decision."""

CLIPPED_SHARE: Final = 0.001
"""Share of the voxels with the largest value from which an image counts as clipped.

A 12-bit image of 256 x 256 x 10 voxels that was not clipped has a handful of them.
"""

UNEVEN_INTENSITY: Final = 2.0
"""Ratio of 99th percentiles from which intensities are not on one scale."""

UNEVEN_SNR: Final = 3.0
"""Ratio of the 95th to the 5th percentile of SNR from which noise is worth a decision."""


def image_findings(frame: pd.DataFrame) -> Iterator[Finding]:
    """Findings about images, in the order of the page.

    Args:
        frame: As `HeartSurvey.frame` gives it.
    """
    yield from _wrapped(frame)
    yield from _orientation(frame)
    yield from _grid(frame)
    yield from _field(frame)
    yield from _intensities(frame)
    yield from _noise(frame)


def _wrapped(frame: pd.DataFrame) -> Iterator[Finding]:
    wrapped = frame[frame.is_unwrapped]
    if len(wrapped):
        yield Finding(
            Urgency.STOPS,
            f"Unsigned intensities are stored as signed ones in {counted(len(wrapped), 'image')}: "
            f"{listed(_names(wrapped))}.",
            "Store them again, or leave them out of training as 'thorax prepare' does.",
        )


def _orientation(frame: pd.DataFrame) -> Iterator[Finding]:
    counts = frame.orientation.value_counts()
    if len(counts) > 1:
        shown = ", ".join(f"{name} {count}" for name, count in counts.items())
        yield Finding(
            Urgency.METHOD,
            f"Mixed orientation: the axes of the files point in {len(counts)} ways ({shown}).",
            "Reorient while loading, or train with flips and turns so that the network does not care.",
        )
    placeless = int((~frame.has_position).sum())
    if placeless:
        yield Finding(
            Urgency.METHOD,
            f"{placeless} of {len(frame)} files hold no place or turn in the scanner, only the spacing.",
            "Do not rely on their orientation: augment with turns and flips, and do not register by headers.",
        )


def _grid(frame: pd.DataFrame) -> Iterator[Finding]:
    pixel = frame.pixel_x_mm
    if pixel.max() / pixel.min() > UNEVEN_SPACING:
        yield Finding(
            Urgency.METHOD,
            f"Pixel spacing from {pixel.min():.2f} to {pixel.max():.2f} mm, median {pixel.median():.2f} mm.",
            "A common spacing in plane, or augmentation by scale; measure volumes on the native grid.",
        )
    oblong = frame[(frame.pixel_x_mm / frame.pixel_y_mm - 1).abs() > 0.01]
    if len(oblong):
        yield Finding(
            Urgency.METHOD,
            f"{counted(len(oblong), 'volume')} with pixels that are not square: {listed(_names(oblong))}.",
            "Resample to square pixels.",
        )
    distance, slices = frame.slice_distance_mm, frame.slices
    ratio = (distance / pixel).median()
    if distance.max() / distance.min() > UNEVEN_SPACING or ratio > 2:
        yield Finding(
            Urgency.METHOD,
            f"Slices {distance.min():.1f} to {distance.max():.1f} mm apart, median {distance.median():.1f}, "
            f"{slices.min():.0f} to {slices.max():.0f} of them; voxels {ratio:.1f} times as deep as wide.",
            "Work slice by slice or with patches that are flat along z; interpolate no labels across slices.",
        )
    counts = frame.groupby("patient").slices.nunique()
    if (counts > 1).any():
        yield Finding(
            Urgency.NOTE,
            f"ED and ES have different numbers of slices: {listed(list(counts[counts > 1].index))}.",
            "Check the acquisition: volumes of the two phases may not cover the same heart.",
        )


def _field(frame: pd.DataFrame) -> Iterator[Finding]:
    x, y = frame.field_x_mm, frame.field_y_mm
    smallest = pd.concat([x, y], axis=1).min(axis=1)
    matrices = frame.groupby(["columns_px", "rows_px"]).ngroups
    if matrices > 1:
        small = int((smallest < CENTRAL_WINDOW_MM).sum())
        yield Finding(
            Urgency.METHOD,
            f"{matrices} different matrices; fields of view from {smallest.min():.0f} to "
            f"{max(x.max(), y.max()):.0f} mm, {small} of {len(frame)} smaller somewhere than the central "
            f"{CENTRAL_WINDOW_MM:.0f} mm that the networks see.",
            "Crop or pad to one size around the centre; see the labels for hearts beyond that window.",
        )


def _intensities(frame: pd.DataFrame) -> Iterator[Finding]:
    clipped = frame[frame.clipped_share > CLIPPED_SHARE]
    if len(clipped):
        yield Finding(
            Urgency.METHOD,
            f"{len(clipped)} of {len(frame)} images are clipped: {clipped.clipped_share.median():.2%} of the "
            f"voxels (median) have the largest value, at most {clipped.clipped_share.max():.2%}.",
            "What was brighter is lost: normalise by mean and SD or by percentiles below the clip, clip "
            "images of other sources alike before they are mixed in.",
        )
    bright = frame.intensity_p99
    if bright.max() / bright.min() > UNEVEN_INTENSITY:
        yield Finding(
            Urgency.METHOD,
            f"Intensities are on no common scale: 99th percentiles from {bright.min():.0f} to "
            f"{bright.max():.0f}.",
            "Normalise each image by itself.",
        )
    phases = frame.groupby("patient").intensity_p99.agg(["min", "max"])
    apart = phases[phases["max"] / phases["min"] > UNEVEN_INTENSITY]
    if len(apart):
        yield Finding(
            Urgency.METHOD,
            f"ED and ES of {counted(len(apart), 'patient')} differ more than {UNEVEN_INTENSITY:.0f}-fold in "
            f"brightness: {listed(list(apart.index))}.",
            "Normalise each phase by itself, not the patient; do not use differences of phases as input.",
        )


def _noise(frame: pd.DataFrame) -> Iterator[Finding]:
    snr = frame.snr_image.dropna()
    if len(snr):
        low, high = snr.quantile(0.05), snr.quantile(0.95)
        if high / low > UNEVEN_SNR:
            yield Finding(
                Urgency.METHOD,
                f"SNR of tissue from {low:.0f} to {high:.0f} (5th to 95th percentile).",
                "Augment with noise and blur over that range, and report results by SNR.",
            )
    unknown = len(frame) - len(snr)
    if unknown:
        yield Finding(
            Urgency.NOTE,
            f"Noise could not be estimated in {counted(unknown, 'image')}: "
            f"{listed(_names(frame[frame.snr_image.isna()]))}.",
            "Look at them: they may be filtered, rounded or nearly empty.",
        )


def _names(frame: pd.DataFrame) -> list[str]:
    return [f"{row.patient} {row.phase}" for row in frame.itertuples()]


OUTLIER_Z: Final = 3.5
"""Robust z-score beyond which a value is an outlier (Iglewicz and Hoaglin)."""

MIN_COMPARED: Final = 8
"""Fewest volumes that are compared with each other: the spread of fewer says little."""

STRUCTURES: Final = ("rv_ml", "myo_ml", "lv_ml")


@dataclass(frozen=True, slots=True)
class Outlier:
    """One value far from the others.

    Attributes:
        index: Row of the survey.
        feature: Column of the survey.
        value: The value.
        median: Median of what it was compared with.
        z: Robust z-score.
        among: What it was compared with, e.g. `"ED"` or `"ED, DCM"`.
    """

    index: int
    feature: str
    value: float
    median: float
    z: float
    among: str


OUTLIER_RULE: Final = (
    "A value is an outlier if its robust z-score, (value - median) / (MAD / 0.6745), is beyond "
    f"{OUTLIER_Z} (Iglewicz and Hoaglin 1993); intensities and ratios to noise are taken on a "
    "logarithm. Each phase is compared by itself, and volumes of structures within the group too, "
    f"where it has at least {MIN_COMPARED} volumes: a dilated heart is no outlier among dilated "
    "hearts. Fewer volumes than that are not compared. Where more than half of the values are equal, "
    "the mean absolute deviation stands in for the MAD."
)
"""The rule in words, for pages."""


def find_outliers(frame: pd.DataFrame) -> list[Outlier]:
    """Outliers among all features, the farthest first.

    Args:
        frame: As `HeartSurvey.frame` gives it.

    References:
        Iglewicz and Hoaglin, How to Detect and Handle Outliers, ASQC, 1993, ISBN 978-0-87389-247-6.
    """
    found: list[Outlier] = []
    for feature in compared(frame):
        for phase, volumes in frame.groupby("phase"):
            if feature.name not in STRUCTURES:
                found += _among(volumes, feature, str(phase))
                continue
            enough = volumes.groupby("group")["patient"].transform("size") >= MIN_COMPARED
            for group, members in volumes[enough].groupby("group"):
                found += _among(members, feature, f"{phase}, {group}")
            if not enough.all():
                found += [
                    outlier
                    for outlier in _among(volumes, feature, str(phase))
                    if not enough.loc[outlier.index]
                ]
    return sorted(found, key=lambda outlier: -abs(outlier.z))


def _among(volumes: pd.DataFrame, feature: Feature, among: str) -> list[Outlier]:
    values = volumes[feature.name]
    if values.notna().sum() < MIN_COMPARED:
        return []
    scores = robust_z(feature.scaled(values))
    return [
        Outlier(
            int(index),
            feature.name,
            float(values[index]),
            float(values.median()),
            float(scores[index]),
            among,
        )
        for index in scores.index[scores.abs() > OUTLIER_Z]
    ]


SECTIONS: Final[tuple[Section, ...]] = ("training", "validation", "test")

MIN_PATIENTS: Final = 3
"""Fewest patients of a section for a test."""

SIGNIFICANT: Final = 0.05
"""Corrected p-value below which two sections differ."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One feature in two sections.

    Attributes:
        feature: Column of the survey.
        first: One section.
        second: The other.
        median_first: Median over the patients of `first`.
        median_second: Median over the patients of `second`.
        distance_sd: Mean of `second` less that of `first` in pooled SDs, on the feature's scale; None
            where nobody differs from anybody.
        ks: Largest distance of the two distribution functions, 0 to 1.
        p_value: Of the two-sided Kolmogorov-Smirnov test.
        p_holm: The same, corrected for all features and pairs of sections.
    """

    feature: str
    first: str
    second: str
    median_first: float
    median_second: float
    distance_sd: float | None
    ks: float
    p_value: float
    p_holm: float


def sections_of(datalist: dict[str, Any], fold: int) -> dict[str, str]:
    """Section of each patient of a datalist; a section without patients is left out.

    Args:
        datalist: As from `read_datalist`.
        fold: The fold that validation stands for, 0 to 4.
    """
    found: dict[str, str] = {}
    for section in SECTIONS:
        try:
            found |= {item["patient"]: section for item in select(datalist, section, fold)}
        except DataError:
            continue
    return found


def section_shifts(frame: pd.DataFrame) -> list[Shift]:
    """Each feature of the images in each pair of sections, the largest distance first.

    A patient counts once, with the mean over its volumes: ED and ES are not independent. With many
    ties (slice distances, matrices) the test finds too little rather than too much.

    Args:
        frame: As `HeartSurvey.frame` gives it.

    References:
        Hodges, Arkiv för Matematik 3(43), 1958, doi:10.1007/BF02589501 (the test);
        Holm, Scand. J. Statist. 6(2), 1979, https://www.jstor.org/stable/4615733;
        Cohen, Statistical Power Analysis, 1988, doi:10.4324/9780203771587 (the distance).
    """
    raw: list[tuple[str, str, str, pd.Series, pd.Series, bool]] = []
    for feature in compared(frame, labels=False):
        values = frame.assign(value=feature.scaled(frame[feature.name]))
        patients = values.groupby("patient").agg(section=("section", "first"), value=("value", "mean"))
        for first, second in combinations(SECTIONS, 2):
            one, two = (patients.value[patients.section == name].dropna() for name in (first, second))
            if min(len(one), len(two)) >= MIN_PATIENTS:
                raw.append((feature.name, first, second, one, two, feature.on_log))
    tests = [ks_2samp(one, two) for _, _, _, one, two, _ in raw]
    corrected = holm([float(test.pvalue) for test in tests])
    shifts = [
        Shift(
            feature=name,
            first=first,
            second=second,
            median_first=_back(one.median(), on_log),
            median_second=_back(two.median(), on_log),
            distance_sd=distance_sd(one.to_numpy(), two.to_numpy()),
            ks=float(test.statistic),
            p_value=float(test.pvalue),
            p_holm=p_holm or 0.0,
        )
        for (name, first, second, one, two, on_log), test, p_holm in zip(raw, tests, corrected, strict=True)
    ]
    return sorted(shifts, key=lambda shift: -abs(shift.distance_sd or 0.0))


def groups_by_section(frame: pd.DataFrame) -> Mapping[str, Mapping[str, int]]:
    """Number of patients by group and section, as the split dealt them."""
    patients = frame.drop_duplicates("patient")
    return {
        str(group): {name: int((part.section == name).sum()) for name in SECTIONS}
        for group, part in patients.groupby("group")
    }


def distance_sd(one: npt.NDArray[Any], two: npt.NDArray[Any]) -> float | None:
    """Mean of `two` less that of `one` in pooled SDs (Cohen's d); None if neither varies.

    Args:
        one: At least two numbers.
        two: At least two numbers.
    """
    squares = (len(one) - 1) * np.var(one, ddof=1) + (len(two) - 1) * np.var(two, ddof=1)
    pooled = float(np.sqrt(squares / (len(one) + len(two) - 2)))
    difference = float(np.mean(two) - np.mean(one))
    return difference / pooled if pooled > 1e-9 * max(abs(difference), 1.0) else None


def _back(value: float, on_log: bool) -> float:
    return float(np.exp(value)) if on_log else float(value)


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
            f"{counted(len(survey.problems), 'volume or patient')} would be skipped: {listed(patients)}. "
            "The reasons stand under 'Skipped'.",
            "Repair the files, or continue without them and report it.",
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
            # A volume outside the split, such as a copy that "prepare" excluded, crosses nothing.
            leaks = sum(len({volumes[index].section for index in pair} - {""}) == 2 for pair in chosen)
            leak = f" Pairs that cross the split: {leaks}." if leaks else ""
            yield Finding(
                Urgency.STOPS,
                f"{counted(len(chosen), 'pair')} of volumes of {kind} are {words}: {listed(names)}.{leak}",
                "Keep one, or give both patients to one split: otherwise the test set has been seen."
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
            f"{counted(outside.patient.nunique(), 'patient')} of the folder in no split of the datalist: "
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
            f"Splits differ in {counted(len(different), 'comparison')} after Holm's correction: {shown}.",
            "Draw the split again, stratified by acquisition too, or report the test as a shift of domain.",
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
