"""Tables on the terminal: those of documents, and those of commands that write no document."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table as RichTable

from pipelines.reporting.document import Table, number

if TYPE_CHECKING:
    from pipelines.inference.classify import ClassifiedXray
    from pipelines.inference.study_result import StudyResult
    from pipelines.training.search import Trial

MAX_ROWS = 40
"""Rows that a table on the terminal shows."""

INDICES = {
    "LV EDV mL": "lv_edv_ml",
    "LV ESV mL": "lv_esv_ml",
    "LV EF %": "lv_ef_percent",
    "RV EDV mL": "rv_edv_ml",
    "RV ESV mL": "rv_esv_ml",
    "RV EF %": "rv_ef_percent",
    "mass g": "myo_mass_ed_g",
}


def render(table: Table, *, show_lines: bool = False) -> RichTable:
    """A table of a document for the terminal, the first `MAX_ROWS` rows of it.

    Args:
        table: The table; cells of its first column are set to the left.
        show_lines: Draw a line between rows.
    """
    shown = RichTable(title=escape(table.caption) or None, title_justify="left", show_lines=show_lines)
    for place, title in enumerate(table.header):
        shown.add_column(escape(title), justify="right" if place else "left")
    rows = table.texts()
    for row in rows[:MAX_ROWS]:
        shown.add_row(*map(escape, row))
    if len(rows) > MAX_ROWS:
        shown.caption = f"{len(rows) - MAX_ROWS} more are in the table file"
    return shown


def indices_table(results: Sequence["StudyResult"]) -> RichTable:
    """Volumes and ejection fractions, a row for each study."""
    rows = [
        [one.study, *(number(getattr(one.indices, name), 1) for name in INDICES.values()), one.reason]
        for one in results
    ]
    return render(Table("", ["study", *INDICES, "why empty"], rows))


def classification_table(results: Sequence["ClassifiedXray"]) -> RichTable:
    """Probability, decision and warnings of radiographs."""
    rows = [
        [one.image.name, f"{one.probability:.3f}", one.decision.value.lower(), "; ".join(one.warnings)]
        for one in results
    ]
    return render(Table("", ["image", "pneumonia", "decision", "warnings"], rows))


def trials_table(trials: Sequence["Trial"]) -> RichTable:
    """Trials of a search, the best first: their settings, and their scores on validation."""
    rows = []
    for trial in trials:
        drawn = [
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in trial.settings.items()
        ]
        scores = (f"{score:.4f}" for score in trial.scores.values())
        rows.append([trial.name, str(trial.epochs), *scores, ", ".join(drawn)])
    header = ["trial", "epochs", *(trials[0].scores if trials else ()), "settings"]
    return render(Table(f"{len(trials)} trials, scores on validation", header, rows), show_lines=True)
