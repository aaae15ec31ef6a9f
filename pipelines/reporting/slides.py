"""Slides of a report: at most twelve, each with one message and what shows it."""

import io
import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

from PIL import Image

from pipelines.core.files import atomic_path
from pipelines.core.install import import_extra
from pipelines.core.records import LABEL_COLORS
from pipelines.reporting.document import BarChart, Document, Language, Picture, Section, Table, cell_text
from pipelines.reporting.html import is_foreign, marked

MAX_SLIDES: Final = 12
"""With the title."""

MAX_ROWS: Final = 8
"""Of a table on a slide."""

MAX_POINTS: Final = 6
LONGEST_TITLE: Final = 110
LONGEST_POINT: Final = 220
LONGEST_CELL, LONGEST_WORD = 120, 22
"""In letters: a longer title gives way to the section's, longer texts are cut."""

WIDTH, HEIGHT = 13.333, 7.5
"""Of a slide, in inches: 16 to 9."""

ROOM_X, ROOM_Y = 12.1, 5.35
"""Of a slide's content, in inches."""

LEFT: Final = (WIDTH - ROOM_X) / 2
TOP: Final = 1.5
"""Where the content begins, in inches."""

BAND, STRIPE, GAP, CAPTION = 1.2, 0.06, 0.25, 0.35
"""Height of the title's band, of the stripes below it, of gaps and of a caption, in inches."""

SIDE: Final = 0.64
"""Share of the width of a picture that has points beside it."""

FLAT: Final = 2.0
"""A picture so many times as wide as high has its points below it."""

TITLE_PT, LONG_TITLE_PT, BULLET_PT, SMALL_PT = 28, 22, 18, 12
LONG_TITLE: Final = 55
"""Letters of a title that stand in one line of `TITLE_PT`."""

TABLE_PTS: Final = (16, 14, 12)
"""Sizes of letters in tables, the largest that lets a table stand on its slide is taken."""

LETTER: Final = 0.56
"""Mean width of a letter over its size: that of DejaVu Sans, one of the widest."""

LINE: Final = 1.22
"""Height of a line over the size of its letters."""

BULLET_GAP, CELL_GAP, CELL_MARGINS = 0.1, 0.09, 0.2
"""Below a bullet, above and below, and at both sides of a cell's text, in inches."""

BOLD: Final = 1.25
"""How much wider than the mean a word may be that is bold or full of wide letters."""

FONT: Final = "Arial"
"""For letters that run from right to left: it has them on every system that PowerPoint runs on."""

INK, MUTED, WHITE = "1F2937", "6B7280", "FFFFFF"
"""Colours of the band and of text; those of the stripes are those of the structures."""

TITLE_ONLY: Final = 5
"""Layout of python-pptx's own template."""


@dataclass(frozen=True, slots=True)
class Slide:
    """What stands on a slide.

    Attributes:
        title: Its message.
        topic: Title of the section, empty if that is the message.
        points: Short sentences.
        shown: A picture or table, None for a slide of points alone.
    """

    title: str
    topic: str
    points: Sequence[str]
    shown: Picture | Table | None


def require_slides() -> Any:
    """The package that writes slides.

    Raises:
        ConfigError: If it is not installed.
    """
    return import_extra("pptx", "report", "python-pptx for slides", "leave the slides out by --format")


def write_slides(path: Path, document: Document, words: Language) -> None:
    """Write a PowerPoint file: a title, then the most telling slides of the sections in order.

    Args:
        path: File to write.
        document: What to write; its details are left out.
        words: Language.

    Raises:
        ConfigError: If python-pptx is not installed.
        DataError: If a picture is missing.
        OutputError: If the file cannot be written.
    """
    deck = _Deck(require_slides(), document.title, words)
    deck.add_title(document.lead)
    for slide in chosen_slides(document):
        deck.add(slide)
    with atomic_path(path) as temporary:
        deck.presentation.save(str(temporary))


def chosen_slides(document: Document) -> list[Slide]:
    """Slides below the title: of each chapter the first, then the second, as many as there is room for.

    Where there is no room for all chapters' next slides, those of later chapters come first: results and
    errors stand after data and method.
    """
    chapters: list[list[Slide]] = []
    sections = [section for section in document.sections if not section.is_detail]
    for section, following in pairwise([*sections, None]):
        if section is None:
            continue
        if section.level == 2 or not chapters:
            chapters.append([])
        introduces = section.level == 2 and following is not None and following.level == 3
        if not introduces or section.points or section.tables or section.pictures:
            chapters[-1] += slides_of(section)
    places = [
        (number, -chapter, chapter)
        for chapter, slides in enumerate(chapters)
        for number in range(len(slides))
    ]
    kept = sorted(places)[: MAX_SLIDES - 1]
    return [chapters[chapter][number] for chapter, number in sorted((one[2], one[0]) for one in kept)]


def slides_of(section: Section) -> list[Slide]:
    """Slides of a section: one for each picture, then for each table; the points stand on the first.

    A short first point is the message of a slide that shows something.
    """
    references = [f"{reference.text} {reference.url}" for reference in section.references]
    points = [_cut(text, LONGEST_POINT) for text in [*(section.points or section.paragraphs), *references]]
    shown: list[Picture | Table] = [*section.pictures, *section.tables]
    if not shown:
        return [Slide(section.title, "", points, None)] if points else []
    title, topic = section.title, ""
    if section.points and len(section.points[0]) <= LONGEST_TITLE:
        title, topic, points = section.points[0], section.title, points[1:]
    first, *others = shown
    slides = [Slide(title, topic, points[:MAX_POINTS], first)]
    return slides + [Slide(section.title, "", (), one) for one in others]


class _Deck:
    """A presentation being filled."""

    def __init__(self, pptx: Any, title: str, words: Language) -> None:
        from pptx.util import Inches

        self.title, self.words = title, words
        self.presentation = pptx.Presentation()
        self.presentation.slide_width = Inches(WIDTH)
        self.presentation.slide_height = Inches(HEIGHT)
        self.presentation.core_properties.language = words.code
        self.presentation.core_properties.title = title

    def add_title(self, lead: str) -> None:
        slide = self._new(3.4)
        self._title(slide, self.title, 40, (1.0, 2.0))
        self._text(slide, [_cut(lead, 3 * LONGEST_POINT)], (LEFT, 3.9, ROOM_X, 2.5), BULLET_PT)

    def add(self, content: Slide) -> None:
        slide = self._new(BAND)
        size = TITLE_PT if len(content.title) <= LONG_TITLE else LONG_TITLE_PT
        if content.topic:
            self._text(slide, [content.topic], (LEFT, 0.08, ROOM_X, 0.3), SMALL_PT, color=WHITE)
        self._title(slide, content.title, size, (0.3, 0.85) if content.topic else (0.2, 0.85))
        if isinstance(content.shown, Picture):
            self._add_picture(slide, content.shown, content.points)
            return
        room = 2.0 if content.shown else ROOM_Y
        points, height = _fitting(content.points[:MAX_POINTS], ROOM_X, room, BULLET_PT)
        left_out = len(content.points) - len(points)
        if points:
            self._text(slide, points, (LEFT, TOP, ROOM_X, height), BULLET_PT, bullets=True)
        if content.shown:
            height += GAP if points else 0.0
            below, rows = self._add_table(slide, content.shown, TOP + height, ROOM_Y - height)
            height += below
            left_out = len(content.shown.rows) - rows
        if left_out:
            place = (LEFT, min(TOP + height + 0.05, TOP + ROOM_Y), ROOM_X, CAPTION)
            self._text(slide, [self.words("slides.more", count=left_out)], place, SMALL_PT, color=MUTED)

    def _new(self, band: float) -> Any:
        """A slide with its band, stripes in the colours of the structures, number and footer."""
        slide = self.presentation.slides.add_slide(self.presentation.slide_layouts[TITLE_ONLY])
        _rectangle(slide, (0.0, 0.0, WIDTH, band), INK)
        third = WIDTH / len(LABEL_COLORS)
        for index, color in enumerate(LABEL_COLORS.values()):
            _rectangle(slide, (index * third, band, third, STRIPE), color.removeprefix("#"))
        place = (LEFT, HEIGHT - 0.42, ROOM_X, 0.3)
        number = f"{len(self.presentation.slides)} · {self.title} · {self.words('slides.footer')}"
        self._text(slide, [number], place, 10, color=MUTED)
        return slide

    def _title(self, slide: Any, text: str, size_pt: int, place: tuple[float, float]) -> None:
        from pptx.enum.text import MSO_ANCHOR

        _place(slide.shapes.title, (LEFT, place[0], ROOM_X, place[1]))
        slide.shapes.title.text_frame.vertical_anchor = MSO_ANCHOR.MIDDLE
        # The title lies above the band, which was added after it.
        tree = slide.shapes._spTree
        tree.append(slide.shapes.title._element)
        self._write(slide.shapes.title.text_frame.paragraphs[0], text, size_pt, bold=True, color=WHITE)

    def _add_picture(self, slide: Any, picture: Picture, points: Sequence[str]) -> None:
        from pptx.util import Inches

        content = picture.content()
        with Image.open(io.BytesIO(content)) as image:
            ratio = image.width / image.height
        room_x, room_y = ROOM_X, ROOM_Y - CAPTION
        below = bool(points) and ratio >= FLAT
        beside = bool(points) and not below
        if beside:
            room_x = ROOM_X * SIDE
            shown, height = _fitting(points, ROOM_X - room_x - GAP, ROOM_Y, BULLET_PT - 2)
            left = LEFT if self.words.is_rtl else LEFT + room_x + GAP
            place = (left, TOP, ROOM_X - room_x - GAP, height)
            self._text(slide, shown, place, BULLET_PT - 2, bullets=True)
        elif below:
            shown, height = _fitting(points, ROOM_X, ROOM_Y - CAPTION - ROOM_X / ratio / 1.5, BULLET_PT - 2)
            room_y -= height + GAP
            place = (LEFT, TOP + room_y + CAPTION + GAP, ROOM_X, height)
            self._text(slide, shown, place, BULLET_PT - 2, bullets=True)
        left = LEFT + ROOM_X - room_x if self.words.is_rtl and beside else LEFT
        self._text(slide, [picture.caption], (left, TOP + room_y, room_x, CAPTION), SMALL_PT, color=MUTED)
        if isinstance(picture, BarChart):
            _add_chart(slide, picture, [Inches(value) for value in (left, TOP, room_x, room_y)])
            return
        width = min(room_x, room_y * ratio)
        height = width / ratio
        place = (left + (room_x - width) / 2, TOP + (room_y - height) / 2, width, height)
        shape = slide.shapes.add_picture(io.BytesIO(content), *(Inches(value) for value in place))
        _describe(shape, picture.alt)

    def _add_table(self, slide: Any, table: Table, top: float, room: float) -> tuple[float, int]:
        """A table with its caption; its height in inches, and its rows without the header."""
        from pptx.util import Inches

        size, rows, widths, heights = table_layout(table, room)
        self._text(slide, [table.caption], (LEFT, top, ROOM_X, CAPTION), SMALL_PT, color=MUTED)
        place = (Inches(LEFT), Inches(top + CAPTION), Inches(ROOM_X), Inches(sum(heights)))
        shape = slide.shapes.add_table(len(rows), len(rows[0]), *place)
        _describe(shape, table.caption)
        # Some programs leave out that a table runs from right to left: its columns are put in that order.
        order = -1 if self.words.is_rtl else 1
        for column, share in zip(shape.table.columns, widths[::order], strict=True):
            column.width = Inches(ROOM_X * share)
        for number, cells in enumerate(rows):
            shape.table.rows[number].height = Inches(heights[number])
            for column, text in enumerate(cells[::order]):
                cell = shape.table.cell(number, column)
                cell.margin_top = cell.margin_bottom = Inches(0.03)
                _fill(cell, INK if number == 0 else "F3F4F6" if number % 2 else WHITE)
                color = WHITE if number == 0 else INK
                self._write(cell.text_frame.paragraphs[0], text, size, bold=number == 0, color=color)
        return CAPTION + sum(heights), len(rows) - 1

    def _text(
        self,
        slide: Any,
        texts: Sequence[str],
        place: Sequence[float],
        size_pt: int,
        *,
        color: str = INK,
        bullets: bool = False,
    ) -> None:
        from pptx.util import Inches

        box = slide.shapes.add_textbox(*(Inches(value) for value in place))
        box.text_frame.word_wrap = True
        for index, text in enumerate(texts):
            paragraph = box.text_frame.paragraphs[0] if index == 0 else box.text_frame.add_paragraph()
            paragraph.space_after = Inches(BULLET_GAP if bullets else 0)
            self._write(paragraph, text, size_pt, color=color)
            if bullets:
                _bullet(paragraph)

    def _write(
        self, paragraph: Any, text: str, size_pt: int, *, bold: bool = False, color: str = INK
    ) -> None:
        """Text of a paragraph in the direction of the language."""
        from pptx.dml.color import RGBColor
        from pptx.enum.text import PP_ALIGN
        from pptx.oxml.ns import qn
        from pptx.util import Pt

        run = paragraph.add_run()
        run.text = marked(text, self.words)
        run.font.size, run.font.bold = Pt(size_pt), bold
        run.font.color.rgb = RGBColor.from_string(color)
        is_rtl = self.words.is_rtl
        paragraph.alignment = PP_ALIGN.RIGHT if is_rtl else PP_ALIGN.LEFT
        paragraph._p.get_or_add_pPr().set("rtl", "1" if is_rtl else "0")
        properties = run._r.get_or_add_rPr()
        properties.set("lang", "en" if is_foreign(text, self.words) else self.words.code)
        if is_rtl:
            properties.append(properties.makeelement(qn("a:cs"), {"typeface": FONT}))


def _bullet(paragraph: Any) -> None:
    from pptx.oxml.ns import qn
    from pptx.util import Inches

    properties = paragraph._p.get_or_add_pPr()
    for side in ("marL", "marR"):  # programs differ in which of them counts from right to left
        properties.set(side, str(Inches(0.25)))
    properties.set("indent", str(-Inches(0.25)))
    properties.append(properties.makeelement(qn("a:buChar"), {"char": "•"}))


def _rectangle(slide: Any, place: Sequence[float], color: str) -> None:
    from pptx.enum.shapes import MSO_SHAPE
    from pptx.util import Inches

    shape = slide.shapes.add_shape(MSO_SHAPE.RECTANGLE, *(Inches(value) for value in place))
    _fill(shape, color)
    shape.line.fill.background()


def _fill(shape: Any, color: str) -> None:
    from pptx.dml.color import RGBColor

    shape.fill.solid()
    shape.fill.fore_color.rgb = RGBColor.from_string(color)


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
    drawn.value_axis.has_major_gridlines = False
    if not drawn.has_legend and len(chart.categories) == len(LABEL_COLORS):
        for index, color in enumerate(LABEL_COLORS.values()):
            _fill(drawn.plots[0].series[0].points[index].format, color.removeprefix("#"))
    drawn.plots[0].has_data_labels = True
    labels = drawn.plots[0].data_labels
    labels.show_value = True
    labels.font.size = Pt(SMALL_PT)
    labels.number_format, labels.number_format_is_linked = "0.000", False


def _place(shape: Any, place: Sequence[float]) -> None:
    from pptx.util import Inches

    shape.left, shape.top, shape.width, shape.height = (Inches(value) for value in place)


def _describe(shape: Any, alt: str) -> None:
    shape._element.xpath(".//p:cNvPr")[0].set("descr", alt)


def table_layout(table: Table, room: float) -> tuple[int, list[list[str]], list[float], list[float]]:
    """Size of letters in points, texts, share of each column, and height of each row in inches.

    Args:
        table: Its header and first `MAX_ROWS` rows are taken, fewer where they do not fit.
        room: Height for it and its caption, in inches.
    """
    rows = [
        [*table.header],
        *([_cut(cell_text(one), LONGEST_CELL) for one in row] for row in table.rows[:MAX_ROWS]),
    ]
    for size in TABLE_PTS:
        widths = _widths(rows, size)
        heights = [_row_height(row, widths, size) for row in rows]
        if CAPTION + sum(heights) <= room:
            break
    while len(rows) > 2 and CAPTION + sum(heights) > room:
        del rows[-1], heights[-1]
    return size, rows, widths, heights


def _fitting(texts: Sequence[str], width: float, height: float, size_pt: int) -> tuple[list[str], float]:
    """The first texts that fit as bullets, and their height in inches."""
    kept: list[str] = []
    used = 0.0
    for text in texts:
        lines = math.ceil(len(text) / _letters(width - 0.45, size_pt))
        used_with = used + lines * size_pt * LINE / 72 + BULLET_GAP
        if used_with > height:
            break
        kept.append(text)
        used = used_with
    return kept, used


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


def _cut(text: str, length: int) -> str:
    """Checksums and long sentences cut for a slide; the report has them whole."""
    if " " not in text and len(text) == 64:
        return f"{text[:12]}…"
    return text if len(text) <= length else textwrap.shorten(text, length, placeholder=" …")
