"""Pieces of Markdown pages."""

from collections.abc import Sequence
from pathlib import Path

from pipelines.errors import DataError

START, END = "<!-- results:start -->", "<!-- results:end -->"
"""Lines of a model card between which the figures go."""


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table whose first column is words and whose other columns are figures, set to the right."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def fill_card(card: Path, content: str) -> str:
    """Text of a model card with the lines between `START` and `END` replaced.

    Raises:
        DataError: If the card has no such lines.
    """
    text = card.read_text(encoding="utf-8") if card.is_file() else ""
    before, start, rest = text.partition(START)
    _, end, after = rest.partition(END)
    if not start or not end:
        raise DataError(f"expected the lines {START} and {END} in {card}, found none; put them back")
    return f"{before}{START}\n{content}{END}{after}"


def number(value: float | None, digits: int) -> str:
    """A figure with so many digits after the point, empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def duration(seconds: float) -> str:
    """Seconds in hours and minutes."""
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min"
