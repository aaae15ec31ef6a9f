"""How much text fits on a slide: bullets and tables measured, and dealt over slides."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pipelines.reporting.html import Picture, Section, Table, cell_text

ROOM_X, ROOM_Y = 12.1, 5.6
"""Of a slide's content, in inches."""

BULLET_PT: Final = 18
TABLE_PTS: Final = (14, 12, 11)
"""Sizes of letters in tables, the largest that lets a table stand on one slide is taken."""

LETTER: Final = 0.56
"""Mean width of a letter over its size: that of DejaVu Sans, one of the widest."""

LINE: Final = 1.22
"""Height of a line over the size of its letters."""

BULLET_GAP, CELL_GAP, CAPTION, BLOCK_GAP = 0.1, 0.09, 0.35, 0.2
"""Below a bullet, around a cell's text, of a table's caption and between blocks, in inches."""

CELL_MARGINS: Final = 0.2
"""At both sides of a cell's text together, in inches: PowerPoint's own."""

BOLD: Final = 1.25
"""How much wider than the mean a word may be that is bold or full of wide letters."""

LEAST_PICTURE: Final = 4.0
"""Height in inches that a picture below bullets has at least."""

LONGEST_CELL, LONGEST_WORD = 200, 22
MOST_SLIDES: Final = 2
"""Slides that a table goes on for."""


@dataclass(frozen=True, slots=True)
class Bullets:
    """Texts of bullets.

    Attributes:
        texts: One a bullet.
        height: Of all of them, in inches.
    """

    texts: list[str]
    height: float


@dataclass(frozen=True, slots=True)
class TablePart:
    """What of a table stands on a slide.

    Attributes:
        caption: Caption of the table.
        header: Texts of its header.
        rows: Texts of its rows.
        widths: Share of each column in the width.
        size_pt: Size of its letters.
        height: With its caption, in inches.
        left_out: Rows of the table that are on no slide, told on its last one.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    widths: list[float]
    size_pt: int
    height: float
    left_out: int


Block = Bullets | TablePart | Picture


def slides_of(section: Section) -> list[list[Block]]:
    """Blocks of each slide of a section, none where it says nothing.

    Args:
        section: Its points, or its paragraphs without any, then references, tables and pictures.
    """
    texts = list(section.points or section.paragraphs)
    texts += [f"{reference.text} {reference.url}" for reference in section.references]
    blocks: list[Block] = [*_bullets(texts)]
    blocks += [part for table in section.tables for part in table_parts(table)]
    blocks += section.pictures
    slides: list[list[Block]] = []
    used = ROOM_Y
    for block in blocks:
        height = LEAST_PICTURE if isinstance(block, Picture) else block.height
        alone = isinstance(block, Picture) and slides and not isinstance(slides[-1][-1], Bullets)
        if used + height > ROOM_Y or alone:
            slides.append([])
            used = 0.0
        slides[-1].append(block)
        used += ROOM_Y if isinstance(block, Picture) else height + BLOCK_GAP
    return slides


def table_parts(table: Table) -> list[TablePart]:
    """A table cut into parts of a slide each, the header on each; at most `MOST_SLIDES`."""
    header = list(table.header)
    rows = [[_short(cell_text(value)) for value in row] for row in table.rows]
    for size in TABLE_PTS:
        widths = _widths([header, *rows], size)
        heights = [_row_height(row, widths, size) for row in [header, *rows]]
        if CAPTION + sum(heights) <= ROOM_Y:
            break
    parts: list[list[int]] = [[]]
    used = CAPTION + heights[0]
    for index, height in enumerate(heights[1:]):
        if parts[-1] and used + height > ROOM_Y:
            parts.append([])
            used = CAPTION + heights[0]
        parts[-1].append(index)
        used += height
    shown = parts[:MOST_SLIDES]
    left_out = len(rows) - sum(len(part) for part in shown)
    return [
        TablePart(
            caption=table.caption,
            header=header,
            rows=[rows[index] for index in part],
            widths=widths,
            size_pt=size,
            height=CAPTION + heights[0] + sum(heights[index + 1] for index in part),
            left_out=left_out if part is shown[-1] else 0,
        )
        for part in shown
    ]


def _bullets(texts: Sequence[str]) -> Iterator[Bullets]:
    group: list[str] = []
    used = 0.0
    for text in texts:
        lines = math.ceil(len(text) / _letters(ROOM_X - 0.5, BULLET_PT))
        height = lines * BULLET_PT * LINE / 72 + BULLET_GAP
        if group and used + height > ROOM_Y:
            yield Bullets(group, used)
            group, used = [], 0.0
        group.append(text)
        used += height
    if group:
        yield Bullets(group, used)


def _letters(width: float, size_pt: float) -> int:
    """Letters of a line so many inches wide."""
    return int(width * 72 / (LETTER * size_pt))


def _widths(rows: Sequence[Sequence[str]], size_pt: int) -> list[float]:
    """Share of each column: its longest word at least, and of what is left what its texts ask for."""
    letters = _letters(ROOM_X, size_pt)
    margin = _letters(CELL_MARGINS, size_pt) + 1
    columns = list(zip(*rows, strict=True))
    least = [
        margin + BOLD * max(min(len(word), LONGEST_WORD) for text in column for word in text.split() or [""])
        for column in columns
    ]
    asked = [
        max(low, max(len(text) for text in column) + margin)
        for column, low in zip(columns, least, strict=True)
    ]
    spare, wish = letters - sum(least), sum(asked) - sum(least)
    if wish > spare > 0:
        asked = [low + spare * (high - low) / wish for low, high in zip(least, asked, strict=True)]
    return [width / sum(asked) for width in asked]


def _row_height(cells: Sequence[str], widths: Sequence[float], size_pt: int) -> float:
    rooms = [max(3, _letters(ROOM_X * width - CELL_MARGINS, size_pt)) for width in widths]
    lines = max(len(textwrap.wrap(text, room)) or 1 for text, room in zip(cells, rooms, strict=True))
    return lines * size_pt * LINE / 72 + CELL_GAP


def _short(text: str) -> str:
    """Checksums and long sentences cut for a slide; the report has them whole."""
    if " " not in text and len(text) == 64:
        return f"{text[:12]}…"
    return text if len(text) <= LONGEST_CELL else textwrap.shorten(text, LONGEST_CELL, placeholder=" …")
