"""The results page of an explored dataset: tables and figures, and no picture of a patient."""

from pathlib import Path
from typing import Any, Final

import pandas as pd

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path, output_folder, write_text
from pipelines.exploration.section_shift import SECTIONS, SIGNIFICANT
from pipelines.exploration.survey_features import FEATURE_BY_NAME
from pipelines.exploration.survey_outliers import OUTLIER_RULE
from pipelines.reporting.heart_eda import CONTENT_NAME, DPI, TABLE_NAME
from pipelines.reporting.heart_eda_figures import survey_figures
from pipelines.reporting.heart_eda_page import NOISE_WORDS, SHIFT_WORDS
from pipelines.reporting.heart_eda_tables import settings_table, volumes_table
from pipelines.reporting.html import Table
from pipelines.reporting.markdown import markdown_table, p_text
from pipelines.reporting.measured import page_of_measured

MOST_OUTLIERS: Final = 12
MOST_SHIFTS: Final = 12


def write_eda_results(exploration: Path, output: Path, *, name: str = "acdc") -> Path:
    """Write `<name>-data.md` and its figures.

    Args:
        exploration: Folder of `thorax eda`.
        output: Folder that takes the page and `<name>-data-*.png`; made if it does not exist.
        name: Stem of the files.

    Returns:
        Path of the page.

    Raises:
        DataError: If the folder lacks what this version of `thorax eda` writes.
        OutputError: If the page cannot be written.
    """
    try:
        frame = pd.read_csv(exploration / TABLE_NAME, keep_default_na=True)
        frame[["section", "label_findings"]] = frame[["section", "label_findings"]].fillna("")
        figures = survey_figures(frame)
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise DataError(
            f"expected {exploration / TABLE_NAME} of 'thorax eda', found {error!r}; explore again"
        ) from error
    output_folder(output)
    names = {title: f"{name}-data-{number}.png" for number, title in enumerate(figures, start=1)}
    _, page = page_of_measured(
        exploration / CONTENT_NAME, "thorax eda", lambda content: _page(content, frame, names)
    )
    for title, figure in figures.items():
        with atomic_path(output / names[title]) as temporary:
            figure.savefig(temporary, dpi=DPI)
    path = output / f"{name}-data.md"
    write_text(path, page)
    return path


def _page(content: dict[str, Any], frame: pd.DataFrame, names: dict[str, str]) -> str:
    labels = ", ".join(f"{state} {count}" for state, count in content["labels"].items())
    findings = [
        f"- **{item['urgency']}**: {item['found']} *{item['decide']}*" for item in content["findings"]
    ]
    lines = [
        f"# The data: {content['dataset']}",
        "",
        "Made by `thorax results eda` from what `thorax eda` measured. The page of `thorax eda` itself has "
        "pictures too, which are of patients and stay with the data.",
        "",
        f"{content['volumes']} volumes of {content['patients']} patients; labels: {labels}.",
        "",
        "## Findings that need a decision",
        "",
        "What is to be decided is in italics.",
        "",
        *(findings or ["None by the rules of `thorax eda`."]),
        "",
        "## Measured",
        "",
        _features(content),
        "",
        f"{NOISE_WORDS} *Volumes*, where fewer than all, leaves out labels that were not opened.",
        "",
        _table(settings_table(frame)),
        "",
        *_pictures(names, "Grid and field of view", "Acquisition by group", "Intensity and noise"),
        "## Structures",
        "",
        _table(volumes_table(frame)),
        "",
        *_pictures(names, "Class balance", "Volumes by group and phase"),
        "## Label quality",
        "",
        *_label_lines(content),
        "## Outliers",
        "",
        OUTLIER_RULE,
        "",
        *_outlier_lines(content),
        "## How close training, validation and test are",
        "",
        *_shift_lines(content),
        *_pictures(names, "Sections of the split"),
        "## Duplicates and what was put aside",
        "",
        *_duplicate_lines(content),
    ]
    return "\n".join(lines)


def _features(content: dict[str, Any]) -> str:
    rows = []
    for name, figures in content["features"].items():
        feature = FEATURE_BY_NAME[name]
        shown = (feature.shown(figures[word]) for word in ("least", "p5", "median", "p95", "most"))
        rows.append([feature.words, str(figures["volumes"]), *shown])
    return markdown_table(["", "volumes", "least", "5%", "median", "95%", "most"], rows)


def _label_lines(content: dict[str, Any]) -> list[str]:
    lines = [f"- {patient}: {text}." for patient, text in content["implausible_phases"]]
    rows = [[kind, str(count)] for kind, count in content["label_findings"].items()]
    table = markdown_table(["finding", "volumes"], rows) if rows else "No label is odd."
    return [*lines, *([""] if lines else []), table, ""]


def _outlier_lines(content: dict[str, Any]) -> list[str]:
    outliers = content["outliers"]
    if not outliers:
        return ["There is none.", ""]
    rows = []
    for item in outliers[:MOST_OUTLIERS]:
        feature = FEATURE_BY_NAME[item["feature"]]
        figures = (feature.shown(item[word]) for word in ("value", "median"))
        rows.append([item["volume"], feature.words, *figures, f"{item['z']:.1f}", item["among"]])
    volumes = len({item["volume"] for item in outliers})
    return [
        f"{len(outliers)} values of {volumes} volumes; the farthest {len(rows)}:",
        "",
        markdown_table(["", "feature", "value", "median", "robust z", "among"], rows),
        "",
    ]


def _shift_lines(content: dict[str, Any]) -> list[str]:
    shifts = content["shifts"]
    if not shifts:
        return ["Not compared: `thorax eda` was given no split, or one with too few patients.", ""]
    counts = [
        [group, *(str(sections[section]) for section in SECTIONS)]
        for group, sections in content["sections"].items()
    ]
    rows = []
    for shift in shifts[:MOST_SHIFTS]:
        feature = FEATURE_BY_NAME[shift["feature"]]
        medians = (feature.shown(shift[word]) for word in ("median_first", "median_second"))
        distance = "" if shift["distance_sd"] is None else f"{shift['distance_sd']:+.2f}"
        tests = (f"{shift['ks']:.2f}", p_text(shift["p_value"]), p_text(shift["p_holm"]))
        rows.append([feature.words, f"{shift['first']}, {shift['second']}", *medians, distance, *tests])
    different = sum(shift["p_holm"] < SIGNIFICANT for shift in shifts)
    return [
        SHIFT_WORDS,
        "",
        markdown_table(["group", *SECTIONS], counts),
        "",
        f"{different} of {len(shifts)} comparisons differ at {SIGNIFICANT} after the correction; the largest "
        f"{len(rows)} distances:",
        "",
        markdown_table(
            ["feature", "sections", "median", "median", "distance, SD", "KS", "p", "p, Holm"], rows
        ),
        "",
    ]


def _duplicate_lines(content: dict[str, Any]) -> list[str]:
    lines = [f"- The same image: {first} and {second}." for first, second in content["copies"]]
    lines += [
        f"- Nearly the same image: {first} and {second}." for first, second in content["near_duplicates"]
    ]
    if content["most_alike"] is not None:
        lines.append(
            f"- Correlation of the two most alike patients, copies apart: {content['most_alike']:.2f}; near "
            f"duplicates are sought from {content['nearly_same_from']}."
        )
    # A reason may name the file with its folder, which says nothing to other readers.
    lines += [
        f"- Put aside: {item['patient']}, {item['file']}: {_without_folders(item['reason'])}."
        for item in content["put_aside"]
    ]
    return [*lines, ""]


def _without_folders(reason: str) -> str:
    return " ".join(Path(word).name if word.startswith("/") else word for word in reason.split(" "))


def _pictures(names: dict[str, str], *titles: str) -> list[str]:
    return [line for title in titles if title in names for line in (f"![{title}]({names[title]})", "")]


def _table(table: Table) -> str:
    rows = [["" if cell is None else str(cell) for cell in row] for row in table.rows]
    return f"{table.caption}:\n\n{markdown_table(list(table.header), rows)}"
