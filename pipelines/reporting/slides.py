"""Slides of a report: its points, tables and pictures, as many to a slide as fit."""

import io
import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from PIL import Image

from pipelines.core.files import atomic_path
from pipelines.core.install import missing_extra
from pipelines.reporting.document import BarChart, Document, Language, Picture, Section, Table, cell_text
from pipelines.reporting.html import is_foreign, marked

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

MIN_PICTURE: Final = 4.0
"""Height in inches that a picture below bullets has at least."""

LONGEST_CELL, LONGEST_WORD = 200, 22
MAX_SLIDES: Final = 2
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
        left_out: Rows of the table that are on no slide; its last slide has their number.
    """

    caption: str
    header: list[str]
    rows: list[list[str]]
    widths: list[float]
    size_pt: int
    height: float
    left_out: int


Block = Bullets | TablePart | Picture

WIDTH, HEIGHT = 13.333, 7.5
"""Of a slide, in inches: 16 to 9."""

LEFT: Final = (WIDTH - ROOM_X) / 2
TOP: Final = 1.3
"""Where the content begins below the title, in inches."""

FONT: Final = "Arial"
"""For letters that run from right to left: it has them on every system that PowerPoint runs on."""

TITLE_PT, CAPTION_PT = 28, 12
TITLE_LAYOUT, CONTENT_LAYOUT, EMPTY_LAYOUT = 0, 1, 5
"""Layouts of python-pptx's own template: title and subtitle, title and bullets, title alone."""


def require_slides() -> Any:
    """The package that writes slides.

    Raises:
        ConfigError: If it is not installed.
    """
    try:
        import pptx
    except ImportError as error:
        otherwise = "leave the slides out by --format"
        raise missing_extra("python-pptx for slides", "report", error, otherwise) from error
    return pptx


def write_slides(path: Path, document: Document, words: Language) -> None:
    """Write a PowerPoint file: a title, then the sections in order.

    A section's points (its paragraphs without any), tables and pictures follow each other over as many
    slides as they need. A chapter that only introduces its parts gets none. Long tables go on for
    `MAX_SLIDES`, and say how many rows only the report has.

    Args:
        path: File to write.
        document: What to write; its details are left out.
        words: Language.

    Raises:
        ConfigError: If python-pptx is not installed.
        DataError: If a picture is missing.
        OutputError: If the file cannot be written.
    """
    deck = _Deck(require_slides(), words)
    deck.add_title(document.title, document.lead)
    sections = [section for section in document.sections if not section.is_detail]
    for section, following in zip(sections, [*sections[1:], None], strict=True):
        introduces = section.level == 2 and following is not None and following.level == 3
        if introduces and not (section.points or section.tables or section.pictures):
            continue
        for blocks in slides_of(section):
            deck.add_slide(section.title, blocks)
    with atomic_path(path) as temporary:
        deck.presentation.save(str(temporary))


class _Deck:
    """A presentation being filled."""

    def __init__(self, pptx: Any, words: Language) -> None:
        from pptx.util import Inches

        self.words = words
        self.presentation = pptx.Presentation()
        self.presentation.slide_width = Inches(WIDTH)
        self.presentation.slide_height = Inches(HEIGHT)
        self.presentation.core_properties.language = words.code

    def add_title(self, title: str, lead: str) -> None:
        self.presentation.core_properties.title = title
        slide = self.presentation.slides.add_slide(self.presentation.slide_layouts[TITLE_LAYOUT])
        _place(slide.shapes.title, LEFT, 1.6, ROOM_X, 1.6)
        _place(slide.placeholders[1], LEFT, 3.5, ROOM_X, 3.0)
        self._write(slide.shapes.title.text_frame.paragraphs[0], title, 40, bold=True)
        self._write(slide.placeholders[1].text_frame.paragraphs[0], lead, BULLET_PT)

    def add_slide(self, title: str, blocks: Sequence[Block]) -> None:
        has_bullets = isinstance(blocks[0], Bullets)
        layout = self.presentation.slide_layouts[CONTENT_LAYOUT if has_bullets else EMPTY_LAYOUT]
        slide = self.presentation.slides.add_slide(layout)
        _place(slide.shapes.title, LEFT, 0.25, ROOM_X, 0.95)
        self._write(slide.shapes.title.text_frame.paragraphs[0], title, TITLE_PT, bold=True)
        top = TOP
        for block in blocks:
            if isinstance(block, Bullets):
                self._add_bullets(slide, block, top)
            elif isinstance(block, TablePart):
                self._add_table(slide, block, top)
            else:
                self._add_picture(slide, block, top)
            top += BLOCK_GAP + (0.0 if isinstance(block, Picture) else block.height)

    def _add_bullets(self, slide: Any, bullets: Bullets, top: float) -> None:
        from pptx.util import Inches

        body = slide.placeholders[1]
        _place(body, LEFT, top, ROOM_X, bullets.height + 0.1)
        for index, text in enumerate(bullets.texts):
            paragraph = body.text_frame.paragraphs[0] if index == 0 else body.text_frame.add_paragraph()
            paragraph.space_before, paragraph.space_after = 0, Inches(BULLET_GAP)
            self._write(paragraph, text, BULLET_PT)

    def _add_table(self, slide: Any, part: TablePart, top: float) -> None:
        from pptx.util import Inches

        self._add_text(slide, part.caption, top)
        rows = [part.header, *part.rows]
        place = (Inches(LEFT), Inches(top + CAPTION), Inches(ROOM_X), Inches(0.25 * len(rows)))
        shape = slide.shapes.add_table(len(rows), len(part.header), *place)
        _describe(shape, part.caption)
        # Some programs leave out that a table runs from right to left: its columns are put in that order.
        order = -1 if self.words.is_rtl else 1
        for column, share in zip(shape.table.columns, part.widths[::order], strict=True):
            column.width = Inches(ROOM_X * share)
        for row, cells in enumerate(rows):
            shape.table.rows[row].height = Inches(0.25)
            for column, text in enumerate(cells[::order]):
                cell = shape.table.cell(row, column)
                cell.margin_top = cell.margin_bottom = Inches(0.03)
                self._write(cell.text_frame.paragraphs[0], text, part.size_pt, bold=row == 0)
        if part.left_out:
            text = self.words("slides.more_rows", rows=part.left_out)
            self._add_text(slide, text, top + part.height + 0.05)

    def _add_picture(self, slide: Any, picture: Picture, top: float) -> None:
        from pptx.util import Inches

        room_y = TOP + ROOM_Y - top - CAPTION
        self._add_text(slide, picture.caption, TOP + ROOM_Y - CAPTION + 0.05)
        if isinstance(picture, BarChart):
            place = (Inches(LEFT), Inches(top), Inches(ROOM_X), Inches(room_y))
            _add_chart(slide, picture, place)
            return
        content = picture.content()
        with Image.open(io.BytesIO(content)) as image:
            scale = min(ROOM_X / image.width, room_y / image.height)
            width, height = image.width * scale, image.height * scale
        place = ((WIDTH - width) / 2, top + (room_y - height) / 2, width, height)
        shape = slide.shapes.add_picture(io.BytesIO(content), *(Inches(value) for value in place))
        _describe(shape, picture.alt)

    def _add_text(self, slide: Any, text: str, top: float) -> None:
        from pptx.util import Inches

        place = (Inches(LEFT), Inches(top), Inches(ROOM_X), Inches(CAPTION))
        box = slide.shapes.add_textbox(*place)
        box.text_frame.word_wrap = True
        self._write(box.text_frame.paragraphs[0], text, CAPTION_PT)

    def _write(self, paragraph: Any, text: str, size_pt: int, *, bold: bool = False) -> None:
        """Text of a paragraph in the direction of the language."""
        from pptx.enum.text import PP_ALIGN
        from pptx.oxml.ns import qn
        from pptx.util import Pt

        run = paragraph.add_run()
        run.text = marked(text, self.words)
        run.font.size, run.font.bold = Pt(size_pt), bold
        is_rtl = self.words.is_rtl
        paragraph.alignment = PP_ALIGN.RIGHT if is_rtl else PP_ALIGN.LEFT
        paragraph._p.get_or_add_pPr().set("rtl", "1" if is_rtl else "0")
        properties = run._r.get_or_add_rPr()
        properties.set("lang", "en" if is_foreign(text, self.words) else self.words.code)
        if is_rtl:
            properties.append(properties.makeelement(qn("a:cs"), {"typeface": FONT}))


def _add_chart(slide: Any, chart: BarChart, place: Sequence[Any]) -> None:
    from pptx.chart.data import CategoryChartData
    from pptx.enum.chart import XL_CHART_TYPE, XL_LEGEND_POSITION
    from pptx.util import Pt

    data = CategoryChartData(number_format="0.000")
    data.categories = list(chart.categories)
    for name, values in chart.series:
        data.add_series(name, list(values))
    shape = slide.shapes.add_chart(XL_CHART_TYPE.COLUMN_CLUSTERED, *place, data)
    _describe(shape, chart.alt)
    drawn = shape.chart
    drawn.has_title = False
    drawn.has_legend = len(chart.series) > 1
    if drawn.has_legend:
        drawn.legend.position = XL_LEGEND_POSITION.BOTTOM
        drawn.legend.include_in_layout = False
    drawn.value_axis.minimum_scale, drawn.value_axis.maximum_scale = 0.0, 1.0
    drawn.plots[0].has_data_labels = True
    labels = drawn.plots[0].data_labels
    labels.show_value = True
    labels.font.size = Pt(CAPTION_PT)
    labels.number_format, labels.number_format_is_linked = "0.000", False


def _place(shape: Any, left: float, top: float, width: float, height: float) -> None:
    from pptx.util import Inches

    shape.left, shape.top = Inches(left), Inches(top)
    shape.width, shape.height = Inches(width), Inches(height)


def _describe(shape: Any, alt: str) -> None:
    shape._element.xpath(".//p:cNvPr")[0].set("descr", alt)


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
        height = MIN_PICTURE if isinstance(block, Picture) else block.height
        alone = isinstance(block, Picture) and slides and not isinstance(slides[-1][-1], Bullets)
        if used + height > ROOM_Y or alone:
            slides.append([])
            used = 0.0
        slides[-1].append(block)
        used += ROOM_Y if isinstance(block, Picture) else height + BLOCK_GAP
    return slides


def table_parts(table: Table) -> list[TablePart]:
    """A table cut into parts of a slide each, the header on each; at most `MAX_SLIDES`."""
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
    shown = parts[:MAX_SLIDES]
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
