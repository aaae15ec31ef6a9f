"""Pieces of Markdown pages."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.reporting.html import Table

START, END = "<!-- results:start -->", "<!-- results:end -->"
"""Lines of a model card between which the figures go."""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is words and whose other columns are figures, set to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def table_lines(table: Table) -> list[str]:
    """Lines of a section with a table."""
    rows = [["" if cell is None else str(cell) for cell in row] for row in table.rows]
    return [f"## {table.caption}", "", markdown_table(table.header, rows), ""]


def fill_card(card: Path, content: str) -> str:
    """Text of a model card with the lines between `START` and `END` replaced.

    Raises:
        DataError: If the card has no such lines.
    """
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    return _fill(text, START, END, content, card)


def block_marks(name: str) -> tuple[str, str]:
    """Lines of a page between which the figures of a section go; the words around them are kept."""
    return f"<!-- {name}:start -->", f"<!-- {name}:end -->"


def fill_blocks(page: Path, text: str, blocks: Mapping[str, str]) -> str:
    """Text of a page with what stands between the marks of each block replaced.

    Args:
        page: Path of the page, for messages.
        text: Its text.
        blocks: New content by the name of the block.

    Raises:
        DataError: If the page lacks the marks of a block.
    """
    for name, content in blocks.items():
        text = _fill(text, *block_marks(name), f"\n{content}\n\n", page)
    return text


def _fill(text: str, start_mark: str, end_mark: str, content: str, path: Path) -> str:
    before, start, rest = text.partition(start_mark)
    _, end, after = rest.partition(end_mark)
    if not start or not end:
        raise DataError(
            f"expected the lines {start_mark} and {end_mark} in {path}, found none; put them back"
        )
    return f"{before}{start_mark}\n{content}{end_mark}{after}"


def number(value: float | None, digits: int) -> str:
    """A figure with so many digits after the point, empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def p_text(p_value: float | None) -> str:
    """A p-value with three digits, empty for None."""
    return "< 0.001" if p_value is not None and p_value < 0.001 else number(p_value, 3)


def duration(seconds: float) -> str:
    """Seconds in hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
