"""The sections of the page that explores a dataset of hearts."""

from collections.abc import Mapping, Sequence
from typing import Final

import pandas as pd

from pipelines.exploration.heart_survey import NEARLY_SAME_HEARTS, HeartSurvey
from pipelines.exploration.section_shift import SIGNIFICANT, Shift
from pipelines.exploration.survey_decisions import Finding
from pipelines.exploration.survey_features import FEATURE_BY_NAME, FEATURES
from pipelines.exploration.survey_outliers import OUTLIER_RULE, Outlier
from pipelines.reporting import heart_eda_tables as tables
from pipelines.reporting.html import Picture, Section

NOISE_WORDS: Final = (
    "The SD of noise is the median absolute finest diagonal Haar detail over 0.6745 (Donoho and Johnstone "
    "1994, doi:10.1093/biomet/81.3.425), inside tissue, which is what is brighter than Otsu's threshold "
    "on the square root of the intensity. SNR is the mean of the tissue, or of the LV cavity, over it; "
    "CNR is the mean of the LV cavity less that of the myocardium, over it. This takes noise as "
    "independent from pixel to pixel: interpolation, filters, rounding and parallel imaging make it too "
    "small or uneven, so that these ratios compare images of one dataset and are not the SNR of the "
    "scanner. LV blood, mean over SD, has papillary muscles and flow in its SD, and is a lower bound. "
    "Background is not used: its noise is Rician, and many scanners blank it."
)
"""How noise is measured, for pages."""

SHIFT_WORDS: Final = (
    "A patient counts once, with the mean of ED and ES. Distance: difference of the means in pooled SDs "
    "(Cohen's d; intensities and ratios on a logarithm), second section less first. KS: two-sided two-sample "
    "Kolmogorov-Smirnov test, corrected for all rows by Holm's rule. Only images and headers are "
    "compared: labels of the test section were not opened, here or anywhere on this page."
)
"""How sections are compared, for pages."""

NO_SPLIT_WORDS: Final = (
    "There is no split to compare. Make one with 'thorax prepare', and give its folder with '--dataset- "
    "dir', or as the folder to explore: this part then tells how close training, validation and test are, "
    "and the labels of the test stay closed."
)


def page_sections(
    survey: HeartSurvey,
    frame: pd.DataFrame,
    findings: Sequence[Finding],
    outliers: Sequence[Outlier],
    shifts: Sequence[Shift],
    *,
    pictures: Mapping[str, Picture],
    overlays: Mapping[str, Sequence[Picture]],
) -> list[Section]:
    """Sections of the page, the findings first.

    Args:
        survey: What was measured.
        frame: Its table.
        findings: What needs a decision.
        outliers: Volumes far from the others.
        shifts: Features by section, empty without a split.
        pictures: Figures by title, and `"Samples"`.
        overlays: Pictures of `"outliers"` and odd `"labels"`.
    """
    return [
        _findings(findings),
        Section("Counts", tables=[tables.counts_table(frame)], pictures=[pictures["Samples"]]),
        _acquisition(frame, pictures),
        _intensity(frame, pictures),
        _structures(frame, pictures),
        _labels(survey, frame, overlays["labels"]),
        _outliers(frame, outliers, overlays["outliers"]),
        _shifts(frame, shifts, pictures),
        _duplicates(survey),
        _put_aside(survey),
    ]


def _findings(findings: Sequence[Finding]) -> Section:
    if not findings:
        return Section("Findings that need a decision", ["None by the rules of this page."])
    return Section("Findings that need a decision", tables=[tables.findings_table(findings)])


def _acquisition(frame: pd.DataFrame, pictures: Mapping[str, Picture]) -> Section:
    features = [feature for feature in FEATURES if not feature.of_label][:9]
    return Section(
        "Grid, field of view and orientation",
        tables=[
            tables.ranges_table(frame, features),
            tables.orientation_table(frame),
            tables.settings_table(frame),
        ],
        pictures=[pictures["Grid and field of view"], pictures["Acquisition by group"]],
    )


def _intensity(frame: pd.DataFrame, pictures: Mapping[str, Picture]) -> Section:
    names = ("intensity_median", "intensity_p99", "noise_sd", "snr_image", "snr_blood", "snr_pool", "cnr")
    return Section(
        "Intensity and noise",
        [NOISE_WORDS, "Every volume is listed below."],
        tables=[tables.ranges_table(frame, [feature for feature in FEATURES if feature.name in names])],
        pictures=[pictures["Intensity and noise"]],
        listing=tables.patients_listing(frame),
    )


def _structures(frame: pd.DataFrame, pictures: Mapping[str, Picture]) -> Section:
    title = "Structures"
    if "Class balance" not in pictures:
        return Section(title, ["No label was read."])
    return Section(
        title,
        ["Whole voxels of the labels that were read, without correction for partial volume."],
        tables=[tables.classes_table(frame), tables.volumes_table(frame)],
        pictures=[pictures["Class balance"], pictures["Volumes by group and phase"]],
    )


def _labels(survey: HeartSurvey, frame: pd.DataFrame, overlays: Sequence[Picture]) -> Section:
    title = "Label quality"
    read = int((frame.label == "read").sum())
    odd = int((frame.label_findings != "").sum())
    shown = [tables.phases_table(survey)] if survey.odd_patients else []
    if odd:
        shown += [tables.kinds_table(frame), tables.label_findings_table(frame)]
    words = (
        f"{odd} of {read} labels that were read are odd somewhere: holes, broken rings, islands, "
        "missing slices, volumes that a heart does not have, hearts cut by the edge. A finding is a "
        "reason to look, and may be anatomy: the outflow tract opens the ring at the base. Slices are "
        "counted from 1."
    )
    held_out = int((frame.label == "held out").sum())
    closed = [f"{held_out} labels of the test section were not opened."] if held_out else []
    return Section(title, [words, *closed], tables=shown, pictures=overlays)


def _outliers(frame: pd.DataFrame, outliers: Sequence[Outlier], overlays: Sequence[Picture]) -> Section:
    words = [OUTLIER_RULE, "An outlier is a reason to look, not to leave out."]
    if not outliers:
        return Section("Outliers", [*words, "There is none."])
    return Section("Outliers", words, tables=[tables.outliers_table(frame, outliers)], pictures=overlays)


def _shifts(frame: pd.DataFrame, shifts: Sequence[Shift], pictures: Mapping[str, Picture]) -> Section:
    title = "How close training, validation and test are"
    if not frame.section.any():
        return Section(title, [NO_SPLIT_WORDS])
    shown = [tables.sections_table(frame)]
    if not shifts:
        return Section(title, ["A section has too few patients for a test."], tables=shown)
    different = sum(shift.p_holm < SIGNIFICANT for shift in shifts)
    farthest = shifts[0]
    words = (
        f"{different} of {len(shifts)} comparisons differ at {SIGNIFICANT} after the correction; the largest "
        f"distance is {abs(farthest.distance_sd or 0.0):.2f} SD ({FEATURE_BY_NAME[farthest.feature].words}, "
        f"{farthest.first} and {farthest.second}). That no difference is found in few patients is no proof "
        "that there is none."
    )
    figures = [pictures[name] for name in ("Sections of the split",) if name in pictures]
    return Section(
        title, [words, SHIFT_WORDS], tables=[*shown, tables.shifts_table(shifts)], pictures=figures
    )


def _duplicates(survey: HeartSurvey) -> Section:
    words = f"{len(survey.copies)} exact copies, and {len(survey.near)} pairs of two patients nearly the same"
    if survey.most_alike is not None:
        words += (
            f" (correlation of three small slices from {NEARLY_SAME_HEARTS}; the two most alike patients, "
            f"copies apart, have {survey.most_alike:.3f})"
        )
    found = survey.copies or survey.near
    return Section("Duplicates", [f"{words}."], tables=[tables.pairs_table(survey)] if found else [])


def _put_aside(survey: HeartSurvey) -> Section:
    if not survey.problems:
        return Section("Put aside", ["Nothing was put aside."])
    return Section("Put aside", tables=[tables.problems_table(survey)])
