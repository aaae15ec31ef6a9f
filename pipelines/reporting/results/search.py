"""Searches for settings: the best trials by their score on validation."""

import csv
from collections.abc import Sequence
from typing import Final

from pipelines.core.errors import DataError, cause
from pipelines.reporting.document import Document, Section, Table
from pipelines.reporting.source import Context, Kind, Source
from pipelines.training.search import TABLE_NAME

MAX_TRIALS: Final = 10


def document(sources: Sequence[Source], context: Context) -> Document:
    """Document of searches.

    Args:
        sources: Folders of `thorax tune`.
        context: Not used: the table is in English.

    Raises:
        DataError: If a table of trials cannot be read.
    """
    del context
    title = f"Search {', '.join(source.name for source in sources)}"
    return Document(title, "", [_section(source) for source in sources])


KIND: Final = Kind("search", TABLE_NAME, "thorax tune", "recipe", document)


def _section(source: Source) -> Section:
    path = source.folder / TABLE_NAME
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream))
        header = list(rows[0])
    except (OSError, IndexError) as error:
        raise DataError(
            f"expected a search of 'thorax tune' in {source.folder}, found {cause(error)}"
        ) from error
    cells = [[_short(row[name]) for name in header] for row in rows[:MAX_TRIALS]]
    measure = "mean Dice" if "mean_dice" in header else "AUROC"
    caption = f"The {len(cells)} best of {len(rows)} trials, by {measure} on validation"
    table = Table(caption, [name.replace("_", " ") for name in header], cells)
    return Section(f"Search {source.name}", tables=[table], block="search")


def _short(text: str) -> str:
    try:
        value = float(text)
    except ValueError:
        return text
    return text if value.is_integer() and "." not in text else f"{value:.4g}"
