"""The results page of the error analysis, made from `errors.json`."""

import json
from pathlib import Path
from typing import Any, Final

from pipelines.core.files import output_folder, write_text
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.reporting.error_tables import (
    OBSERVER_NOTE,
    agreement_table,
    calibration_table,
    correlation_table,
    findings,
    level_tables,
    observer_table,
    one_sided_table,
    source_table,
    worst_volumes,
)
from pipelines.reporting.heart_errors_page import ERRORS_NAME, write_plots
from pipelines.reporting.html import Table
from pipelines.reporting.markdown import markdown_table, number
from pipelines.reporting.measured import page_of_measured
from pipelines.training.run_record import shown_command

RESULTS_NAME: Final = "errors.md"
PLOTS_PREFIX: Final = "errors-"


def write_error_results(analysis: Path, output: Path) -> Path:
    """Write the page and its plots; no picture of a patient is among them.

    Args:
        analysis: Folder of `thorax analyse-errors`.
        output: Folder that takes `errors.md` and `errors-*.png`; made if it does not exist.

    Returns:
        Path of the page.

    Raises:
        DataError: If there is no analysis, or it lacks what this version reads.
        OutputError: If a file cannot be written.
    """
    content, tables = page_of_measured(analysis / ERRORS_NAME, "thorax analyse-errors", _tables)
    output_folder(output)
    plots = write_plots(content, output, prefix=PLOTS_PREFIX)
    pictures = [f"![{plot.alt}]({plot.path.name})" for plot in plots]
    by_level, by_factor, lv, rv, reliability = pictures
    place, one_sided, correlation, agreement, observers, sources, calibration, *others = tables
    page = output / RESULTS_NAME
    write_text(
        page,
        "\n\n".join(
            [
                "# Errors",
                f"Made by `thorax results errors` from {len(content['volumes'])} volumes of "
                f"{content['patients']} patients. [What the figures mean](../concepts/figures.md) has the "
                "definitions.",
                "## What stands out",
                "\n".join(f"- {sentence}" for sentence in findings(content)),
                "## Where in the heart",
                by_level,
                place,
                one_sided,
                "## Phase, group, image and heart",
                by_factor,
                *others,
                correlation,
                "## Agreement of the indices",
                OBSERVER_NOTE,
                agreement,
                lv,
                rv,
                observers,
                sources,
                "## Lowest Dice",
                _worst(content),
                "## Calibration",
                reliability,
                calibration,
                *_command(analysis),
            ]
        )
        + "\n",
    )
    return page


def _tables(content: dict[str, Any]) -> list[str]:
    first, *others = level_tables(content)
    own = (
        one_sided_table,
        correlation_table,
        agreement_table,
        observer_table,
        source_table,
        calibration_table,
    )
    return [_markdown(table) for table in (first, *(make(content) for make in own), *others)]


def _markdown(table: Table) -> str:
    rows = [[str(cell) for cell in row] for row in table.rows]
    return f"{table.caption}:\n\n{markdown_table(table.header, rows)}"


def _worst(content: dict[str, Any]) -> str:
    rows = [
        [
            f"{volume['patient']} {volume['phase']}, {volume['group']}",
            number(volume["dice"]["mean"], 3),
            "; ".join(volume["reasons"][:3]) or "off by little everywhere",
        ]
        for volume in worst_volumes(content)
    ]
    return markdown_table(["volume", "mean Dice", "largest errors"], rows)


def _command(analysis: Path) -> list[str]:
    manifest = analysis / MANIFEST_NAME
    if not manifest.is_file():
        return []
    command = shown_command(json.loads(manifest.read_text(encoding="utf-8"))["command"])
    return ["## Command", f"Paths stand for your own.\n\n```text\n{command}\n```"]
