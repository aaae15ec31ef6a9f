"""What a comparison of models leaves: JSON, CSV, a Markdown and an HTML page, and a picture."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.core.files import output_folder, write_csv, write_json, write_text
from pipelines.evaluation.comparison import DEFINITIONS
from pipelines.reporting.comparison_figures import PLOT_NAME, write_plot
from pipelines.reporting.comparison_tables import MAIN, comparison_tables, long_rows, title_of
from pipelines.reporting.html import Picture, Section, write_report
from pipelines.reporting.markdown import p_text, table_lines
from pipelines.reporting.measured import page_of_measured
from pipelines.training.run_record import shown_command

CONTENT_NAME: Final = "comparison.json"
TABLE_NAME: Final = "comparison.csv"
PAGE_NAME: Final = "comparison.md"
HTML_NAME: Final = "comparison.html"

ALPHA: Final = 0.05
"""Corrected p-value below which a difference is called one."""

PICTURE_TEXT: Final = "Mean Dice of each patient by model, differences with intervals, and shares of ranks"


def write_comparison(content: dict[str, Any], output: Path) -> list[str]:
    """Write all files of a comparison; returns their names.

    Args:
        content: As from `compare_models`, with `cost` of each model and `command`.
        output: Folder that takes them; made if it does not exist.

    Raises:
        OutputError: If a file cannot be written.
    """
    output_folder(output)
    rows = long_rows(content)
    write_csv(output / TABLE_NAME, rows[0], rows)
    write_plot(content, output / PLOT_NAME)
    write_text(output / PAGE_NAME, comparison_page(content))
    write_report(
        output / HTML_NAME,
        title="Comparison of models",
        lead=f"{', '.join(content['models'])} on {len(content['patients'])} patients.",
        sections=[
            Section("Findings", findings(content), pictures=[Picture(output / PLOT_NAME, PICTURE_TEXT)]),
            *(Section(table.caption, tables=[table]) for table in comparison_tables(content)),
            Section("Definitions", [f"{name}: {text}." for name, text in content["definitions"].items()]),
        ],
    )
    write_json(output / CONTENT_NAME, content)
    return [CONTENT_NAME, TABLE_NAME, PAGE_NAME, HTML_NAME, PLOT_NAME]


def write_comparison_results(comparison: Path, output: Path) -> Path:
    """Write the results page of a comparison, and its picture.

    Args:
        comparison: Folder of `thorax compare`.
        output: Folder that takes `comparison.md` and `comparison.png`; made if it does not exist.

    Returns:
        Path of the page.

    Raises:
        DataError: If there is no `comparison.json` of this version.
        OutputError: If the page cannot be written.
    """
    content, page = page_of_measured(comparison / CONTENT_NAME, "thorax compare", comparison_page)
    output_folder(output)
    write_plot(content, output / PLOT_NAME)
    write_text(output / PAGE_NAME, page)
    return output / PAGE_NAME


def findings(content: dict[str, Any]) -> list[str]:
    """Which differences hold up, a sentence for each of the main figures.

    Args:
        content: Content of `comparison.json`.
    """
    sentences = []
    for figure, structure in MAIN:
        pairs = [
            pair for pair in content["pairs"] if (pair["figure"], pair["structure"]) == (figure, structure)
        ]
        clear = [pair for pair in pairs if pair["p_holm"] is not None and pair["p_holm"] < ALPHA]
        named = "; ".join(
            f"{pair['second' if pair['better'] > pair['worse'] else 'first']} better than "
            f"{pair['first' if pair['better'] > pair['worse'] else 'second']} (p {p_text(pair['p_holm'])})"
            for pair in clear
        )
        title = title_of(figure, structure)
        sentences.append(
            f"{title}: {len(clear)} of {len(pairs)} pairs differ with a Holm-corrected p below {ALPHA}"
            + (f": {named}." if named else ".")
        )
    return sentences


def comparison_command(words: Sequence[str]) -> str:
    """The command of a comparison with placeholders for the paths, also those within models."""
    kept = [re.sub(r":(/[^+]*/)?([^/+]+)/([^/+]+)(?=\+|$)", r":runs/\2/\3", word) for word in words]
    return shown_command([Path(words[0]).name, *kept[1:]])


def comparison_page(content: dict[str, Any]) -> str:
    """The Markdown page of a comparison.

    Args:
        content: Content of `comparison.json`.
    """
    tables = comparison_tables(content)
    lines = [
        "# Comparison of models",
        "",
        f"Made by `thorax compare` on {len(content['patients'])} patients ({content['measured_on']}).",
        "",
        *[f"- {sentence}" for sentence in findings(content)],
        "",
        "A pair that does not differ here may do so on more patients; the intervals say what is possible.",
        "",
        f"![{PICTURE_TEXT}]({PLOT_NAME})",
        "",
    ]
    for table in tables:
        lines += table_lines(table)
    lines += ["## What the figures are", ""]
    lines += [f"- `{name}`: {text}." for name, text in {**DEFINITIONS, **content["definitions"]}.items()]
    lines += [
        "",
        "Patients: " + ", ".join(f"{row['patient']} ({row['group']})" for row in content["patients"]),
    ]
    lines[-1] += "."
    lines += ["", "## Command", "", "Paths stand for your own.", "", "```text", content["command"], "```", ""]
    return "\n".join(lines)
