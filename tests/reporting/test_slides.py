from pathlib import Path

import pptx
import pytest

from pipelines.reporting.document import Document, Picture, Section, Table, read_language
from pipelines.reporting.slides import (
    CAPTION,
    LONGEST_TITLE,
    MAX_POINTS,
    MAX_ROWS,
    MAX_SLIDES,
    ROOM_X,
    ROOM_Y,
    TABLE_PTS,
    chosen_slides,
    slides_of,
    table_layout,
    write_slides,
)

TABLE = Table("c", ["a", "b"], [["x", 1]])
PICTURE = Picture(Path("x.png"), "a")


def test_a_short_first_point_is_the_message_of_what_is_shown() -> None:
    slide, other = slides_of(Section("s", ["left out"], ["A message.", "more"], [TABLE], [PICTURE]))
    assert (slide.title, slide.topic, slide.points, slide.shown) == ("A message.", "s", ["more"], PICTURE)
    assert (other.title, other.topic, other.points, other.shown) == ("s", "", (), TABLE)


def test_a_long_first_point_stays_a_point() -> None:
    text = "word " * LONGEST_TITLE
    (slide,) = slides_of(Section("s", points=[text], pictures=[PICTURE]))
    assert (slide.title, slide.topic) == ("s", "")
    assert slide.points[0].startswith("word word")
    assert slide.points[0].endswith(" …")


def shown_texts(section: Section, path: Path) -> list[str]:
    """Texts on the slide of a section."""
    write_slides(path, Document("t", "l", [section]), read_language("en"))
    return [one.text_frame.text for one in pptx.Presentation(path).slides[1].shapes if one.has_text_frame]


def test_points_alone_are_a_list_that_counts_those_left_out(tmp_path: Path) -> None:
    section = Section("s", points=[f"point {index}" for index in range(MAX_POINTS + 3)])
    (slide,) = slides_of(section)
    assert (slide.title, slide.shown) == ("s", None)
    assert "3 more in the report." in shown_texts(section, tmp_path / "s.pptx")
    assert slides_of(Section("nothing")) == []


def test_the_deck_has_the_first_slide_of_each_chapter_and_then_more_of_the_later_ones() -> None:
    sections = []
    for chapter in range(4):
        sections.append(Section(f"chapter {chapter}", ["intro"]))
        sections += [Section(f"{chapter}.{part}", pictures=[PICTURE], level=3) for part in range(5)]
    sections.append(Section("detail", pictures=[PICTURE], is_detail=True))
    titles = [slide.title for slide in chosen_slides(Document("d", "", sections))]
    assert len(titles) == MAX_SLIDES - 1
    assert titles == sorted(titles)
    assert {"0.0", "1.0", "2.0", "3.0"} <= set(titles)
    assert ("3.2" in titles, "0.2" in titles) == (True, False)
    assert not any("chapter" in title or title == "detail" for title in titles)


def test_a_table_has_at_most_eight_rows_and_fits() -> None:
    table = Table("c", ["a", "b"], [[f"row {index}", "text " * 12] for index in range(100)])
    _, rows, _, heights = table_layout(table, ROOM_Y)
    assert rows[0] == ["a", "b"]
    assert [row[0] for row in rows[1:]] == [f"row {index}" for index in range(MAX_ROWS)]
    assert sum(heights) <= ROOM_Y


def test_a_table_of_long_texts_loses_rows_rather_than_letters_and_counts_them(tmp_path: Path) -> None:
    table = Table(
        "c", ["found", "to decide"], [[f"{row} " + "text " * 40, "text " * 40] for row in range(10)]
    )
    size, rows, _, heights = table_layout(table, 3.0)
    assert size == TABLE_PTS[-1]
    assert 1 < len(rows) < 1 + MAX_ROWS
    assert CAPTION + sum(heights) <= 3.0
    section = Section("s", points=["A point. " * 20] * 2, tables=[table])
    texts = shown_texts(section, tmp_path / "s.pptx")
    (counted,) = [int(text.split()[0]) for text in texts if text.endswith("more in the report.")]
    assert 10 - MAX_ROWS < counted < 10


def test_a_column_is_as_wide_as_its_longest_word() -> None:
    size, _, widths, _ = table_layout(Table("c", ["verdict", "why"], [["pass", "long words " * 10]]), ROOM_Y)
    assert sum(widths) == pytest.approx(1.0)
    assert widths[0] * ROOM_X * 72 >= len("verdict") * 0.56 * size


def test_checksums_are_cut_on_slides() -> None:
    _, rows, _, _ = table_layout(Table("c", ["file", "SHA-256"], [["a", "0" * 64]]), ROOM_Y)
    assert rows[1][1] == "000000000000…"
