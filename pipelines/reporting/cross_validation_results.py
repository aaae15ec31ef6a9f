"""The page of a cross-validation."""

from pathlib import Path
from typing import Any, Final

from pipelines.core.files import output_folder, write_text
from pipelines.evaluation.comparison import STRUCTURES
from pipelines.reporting.acdc_results import TITLES
from pipelines.reporting.comparison_tables import figures_table, parts_table, title_of
from pipelines.reporting.html import Table
from pipelines.reporting.markdown import duration, number, table_lines
from pipelines.reporting.measured import page_with_command
from pipelines.training.cross_validation import CONTENT_NAME

PAGE_NAME: Final = "cross-validation.md"


def write_cross_validation_results(cross: Path, output: Path) -> Path:
    """Write `cross-validation.md`: figures over all patients, by phase, group and fold.

    Args:
        cross: Folder of `thorax cross-validate` whose folds are all there.
        output: Folder that takes the page; made if it does not exist.

    Returns:
        Path of the page.

    Raises:
        DataError: If the folder lacks what the command writes.
        OutputError: If the page cannot be written.
    """
    _, text = page_with_command(cross, CONTENT_NAME, "thorax cross-validate", _lines)
    output_folder(output)
    page = output / PAGE_NAME
    write_text(page, text)
    return page


def _lines(content: dict[str, Any]) -> list[str]:
    title = TITLES[content["network"]]
    # The tables of a comparison of one.
    alone = {"models": {title: content}, "patients": content["patients"]}
    tables = [
        figures_table(alone),
        parts_table(alone, "by_phase"),
        parts_table(alone, "by_group"),
        _folds(content),
    ]
    settings = ", ".join(f"`{name}={value}`" for name, value in content["settings"].items())
    measured = {
        "last": "The end of each run is measured: nothing was chosen by the patients that are measured.",
        "best": "The best validation of each run is measured, which those measured chose: too good by that.",
    }
    lines = [
        f"# Cross-validation of the {title}",
        "",
        "Made by `thorax results cross-validation` from `thorax cross-validate`. Each patient was measured",
        "once, by a network that has not learned from it; the hold-out takes no part.",
        measured[content["weights"]],
        f"Settings: the bundle's own{' but ' + settings if settings else ''}.",
        "The command below is that of the process that did the last fold; without `--folds` it does all.",
        "[What the figures mean](../concepts/figures.md) has the definitions.",
        "",
    ]
    for table in tables:
        lines += table_lines(table)
    if content["problems"]:
        lines += ["Put aside:", ""]
        lines += [f"- {problem['patient']}: {problem['reason']}" for problem in content["problems"]]
        lines.append("")
    return lines


def _folds(content: dict[str, Any]) -> Table:
    header = [
        "fold",
        "patients",
        *(title_of("dice", name) for name in STRUCTURES),
        "LV EF error, points",
        "epochs",
    ]
    rows = [
        [
            str(fold["fold"]),
            str(fold["patients"]),
            *(number(fold["dice"][name], 3) for name in STRUCTURES),
            number(fold["ef_lv_mae"], 1),
            str(fold["epochs"]),
            duration(fold["seconds"]) if fold["seconds"] is not None else "",
        ]
        for fold in content["folds"]
    ]
    spread = [number(content["fold_sd"][name], 3) for name in STRUCTURES]
    rows.append(["standard deviation", "", *spread, "", "", ""])
    return Table("By fold", [*header, "training"], rows)
