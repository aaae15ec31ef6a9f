"""Self-contained HTML reports: text, tables and pictures in one file that needs nothing else."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

import pipelines
from pipelines.errors import DataError
from pipelines.files import write_text

Cell = str | float | int | None

MISSING = "–"
"""Shown for a figure that is not defined."""


@dataclass(frozen=True, slots=True)
class Table:
    """A table with a caption; the first column names the rows.

    Attributes:
        caption: What the table shows, with the units its header does not tell.
        header: Column titles, units included.
        rows: One cell a column; floats are shown with one digit, None as a dash.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with a caption.

    Attributes:
        path: PNG file, which must exist; its bytes go into the report.
        alt: What is to be seen, for those who do not see it.
        caption: Text below the picture.
    """

    path: Path
    alt: str
    caption: str = ""

    def data_uri(self) -> str:
        """The picture's bytes as a `data:` address.

        Raises:
            DataError: If the file is missing.
        """
        try:
            return "data:image/png;base64," + base64.b64encode(self.path.read_bytes()).decode("ascii")
        except OSError as error:
            raise DataError(f"expected a picture at {self.path}, found {error.strerror}") from error


@dataclass(frozen=True, slots=True)
class Section:
    """A part of a report under its own heading.

    Attributes:
        title: Heading, unique in the report.
        paragraphs: Plain text above tables and pictures.
        tables: Shown first.
        pictures: Shown below the tables.
        listing: Preformatted text at the end, folded away, e.g. a manifest.
    """

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    listing: str = ""


def write_report(path: Path, *, title: str, lead: str, sections: Sequence[Section]) -> None:
    """Write one HTML file with everything in it.

    Text is escaped, pictures are embedded, and the file loads nothing from outside.

    Args:
        path: HTML file to write; its folder is made if it does not exist.
        title: Title and main heading.
        lead: First paragraph: what was done and what came out.
        sections: Parts in their order.

    Raises:
        DataError: If a picture is missing, or the rows of a table do not fit its header.
        OutputError: If the file cannot be written.
    """
    for section in sections:
        for table in section.tables:
            _check_table(table)
    environment = Environment(
        loader=PackageLoader("pipelines.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = _as_text
    environment.tests["figure"] = _is_figure
    template = environment.get_template("report.html.j2")
    write_text(
        path, template.render(title=title, lead=lead, sections=sections, version=pipelines.__version__) + "\n"
    )


def _check_table(table: Table) -> None:
    wrong = [len(row) for row in table.rows if len(row) != len(table.header)]
    if wrong:
        raise DataError(
            f"expected {len(table.header)} cells in each row of {table.caption!r}, found {wrong[0]}"
        )


def _as_text(value: Cell) -> str:
    if value is None or value != value:  # NaN alone differs from itself
        return MISSING
    return f"{value:.1f}" if isinstance(value, float) else str(value)


def _is_figure(value: Any) -> bool:
    """Numbers, and text that is nothing but one, perhaps with its spread."""
    if isinstance(value, str):
        return re.fullmatch(r"[+-]?\d+(\.\d+)?( ± \d+(\.\d+)?)?", value) is not None
    return value is None or isinstance(value, float | int)
