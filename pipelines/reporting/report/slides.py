"""Slides of a report: its points, tables and pictures, as many to a slide as fit."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from PIL import Image

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path
from pipelines.reporting.bidi import is_foreign, marked
from pipelines.reporting.html import Picture, Section
from pipelines.reporting.language import Language
from pipelines.reporting.report.parts import BarChart
from pipelines.reporting.report.slide_layout import (
    BLOCK_GAP,
    BULLET_GAP,
    BULLET_PT,
    CAPTION,
    ROOM_X,
    ROOM_Y,
    Block,
    Bullets,
    TablePart,
    slides_of,
)

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
        raise ConfigError(
            f"expected python-pptx for slides, found {error}; run pip install 'thorax[report]', or leave "
            "the slides out by --format"
        ) from error
    return pptx


def write_slides(path: Path, title: str, lead: str, sections: Sequence[Section], words: Language) -> None:
    """Write a PowerPoint file: a title, then the sections in order.

    A section's points (its paragraphs without any), tables and pictures follow each other over as many
    slides as they need. A chapter that only introduces its parts gets none. Long tables go on for
    `slide_layout.MOST_SLIDES`, and say how many rows only the report has.

    Args:
        path: File to write.
        title: Title of the first slide.
        lead: Text below it.
        sections: What is told.
        words: Language.

    Raises:
        ConfigError: If python-pptx is not installed.
        DataError: If a picture is missing.
        OutputError: If the file cannot be written.
    """
    deck = _Deck(require_slides(), words)
    deck.add_title(title, lead)
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
