"""Tables on the terminal: of documents, of commands that have none, and of the registry of readers."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from rich.markup import escape
from rich.table import Table as RichTable

from pipelines.core.records import AcdcLabel
from pipelines.datasets.readers import READERS, Reader
from pipelines.reporting.document import Table, number
from pipelines.reporting.markdown import fill_page

if TYPE_CHECKING:
    from pipelines.inference.classify import ClassifiedXray
    from pipelines.inference.segment import StudyResult
    from pipelines.training.search import Trial


MAX_NAMES = 3
"""Names that a warning is shown with."""

VOLUMES = (AcdcLabel.LV, AcdcLabel.RV, AcdcLabel.MYO)

MAX_ROWS = 40
"""Rows that a table on the terminal shows."""

INDICES = {
    "LV EDV\nmL": "lv_edv_ml",
    "LV ESV\nmL": "lv_esv_ml",
    "LV EF\n%": "lv_ef_percent",
    "RV EDV\nmL": "rv_edv_ml",
    "RV ESV\nmL": "rv_esv_ml",
    "RV EF\n%": "rv_ef_percent",
    "mass\ng": "myo_mass_ed_g",
}
"""Titles, in two lines so that the table fits 80 columns, and the indices below them."""


def render(table: Table, *, show_lines: bool = False) -> RichTable:
    """A table of a document for the terminal, the first `MAX_ROWS` rows of it.

    Args:
        table: The table; cells of its first column are set to the left.
        show_lines: Draw a line between rows.
    """
    shown = RichTable(title=escape(table.caption) or None, title_justify="left", show_lines=show_lines)
    for place, title in enumerate(table.header):
        shown.add_column(escape(title), justify="right" if place else "left", overflow="fold")
    rows = table.texts()
    for row in rows[:MAX_ROWS]:
        shown.add_row(*map(escape, row))
    if len(rows) > MAX_ROWS:
        shown.caption = f"{len(rows) - MAX_ROWS} more are in the table file"
    return shown


def study_tables(results: Sequence["StudyResult"]) -> list[RichTable]:
    """Volumes and ejection fractions, a row for each study; apart from them volumes of unknown phase."""
    rows, unknown = [], []
    for one in results:
        if one.volumes_ml:
            unknown.append([one.study, *(number(one.volumes_ml[label], 1) for label in VOLUMES)])
        else:
            indices = (getattr(one.indices, name) for name in INDICES.values())
            rows.append([one.study, *(number(value, 1) for value in indices)])
    tables = [
        Table("", ["study", *INDICES], rows),
        Table("Volumes, phase unknown", ["study", *(f"{label.name} mL" for label in VOLUMES)], unknown),
    ]
    return [render(table) for table in tables if table.rows]


def classification_table(results: Sequence["ClassifiedXray"]) -> RichTable:
    """Probability and decision of radiographs."""
    rows = [
        [one.image.name, number(one.probability, 3), one.decision.lower() if one.decision else "no verdict"]
        for one in results
    ]
    return render(Table("", ["image", "pneumonia", "decision"], rows))


def warning_lines(warnings: Iterable[tuple[str, str]]) -> list[str]:
    """A line for each warning with the names that it is about, or their number if there are many.

    Args:
        warnings: Name and warning, in any order.
    """
    names: dict[str, list[str]] = {}
    for name, warning in warnings:
        names.setdefault(warning, []).append(name)
    return [
        f"{', '.join(those) if len(those) <= MAX_NAMES else f'{len(those)} of them'}: {warning}"
        for warning, those in names.items()
    ]


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


BLOCK: Final = "readers"
"""Name of the block in the documentation that the registry fills, see `markdown.block_marks`."""


def datasets_table(readers: Iterable[Reader]) -> RichTable:
    """A row for each dataset: name, content, access, licence."""
    rows = [[one.name, f"{one.title}: {one.content}", one.access, one.licence] for one in readers]
    return render(Table("", ["name", "content", "access", "licence"], rows), show_lines=True)


def reader_lines(reader: Reader) -> list[str]:
    """All that is known of a dataset, for the terminal."""
    return [
        f"{reader.name}: {reader.title}",
        f"holds      {reader.content}",
        f"labels     {reader.labels}",
        f"access     {reader.access}",
        f"licence    {reader.licence}",
        f"reference  {reader.reference}",
        "layout",
        *(f"  {line}" for line in reader.layout.splitlines()),
    ]


def readers_markdown() -> str:
    """The registry as sections of a page."""
    parts = []
    for reader in READERS.values():
        parts += [
            f"### {reader.name}",
            "",
            f"{reader.title}. [Reference]({reader.reference}).",
            "",
            f"- Holds: {reader.content}.",
            f"- Labels: {reader.labels}.",
            f"- Access: {reader.access}.",
            f"- Licence: {reader.licence}.",
            "",
            "```text",
            reader.layout,
            "```",
            "",
        ]
    return "\n".join(parts).strip()


def fill_readers_page(page: Path) -> Path:
    """Put the registry between the marks of a page; returns its path.

    Args:
        page: Existing Markdown page with the lines that `block_marks` gives for `BLOCK`.

    Raises:
        DataError: If the page or its marks are not there.
        OutputError: If it cannot be written.
    """
    return fill_page(page, {BLOCK: readers_markdown()})
