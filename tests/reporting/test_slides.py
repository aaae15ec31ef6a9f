from pathlib import Path

import pytest

from pipelines.reporting.document import Picture, Section, Table
from pipelines.reporting.slides import (
    MAX_SLIDES,
    ROOM_Y,
    Bullets,
    TablePart,
    slides_of,
    table_parts,
)


def test_bullets_and_a_small_table_share_a_slide() -> None:
    table = Table("c", ["a", "b"], [["x", 1]])
    (slide,) = slides_of(Section("s", ["left to the report"], points=["one", "two"], tables=[table]))
    assert [type(block) for block in slide] == [Bullets, TablePart]
    assert isinstance(slide[0], Bullets)
    assert slide[0].texts == ["one", "two"]


def test_many_bullets_go_on_to_the_next_slide_in_order() -> None:
    texts = [f"{index} " + "word " * 30 for index in range(12)]
    slides = slides_of(Section("s", texts))
    shown = [
        text for slide in slides for block in slide if isinstance(block, Bullets) for text in block.texts
    ]
    assert len(slides) > 1
    assert shown == texts


def test_a_picture_follows_bullets_and_the_next_has_a_slide_of_its_own() -> None:
    picture = Picture(Path("x.png"), "a")
    slides = slides_of(Section("s", points=["one"], pictures=[picture, picture]))
    assert [len(slide) for slide in slides] == [2, 1]


def test_a_long_table_says_how_many_rows_are_left_out() -> None:
    parts = table_parts(Table("c", ["a", "b"], [[f"row {index}", "text " * 12] for index in range(100)]))
    assert len(parts) == MAX_SLIDES
    assert sum(len(part.rows) for part in parts) + parts[-1].left_out == 100
    assert parts[0].left_out == 0
    assert all(part.height <= ROOM_Y + 1e-9 for part in parts)
    assert all(part.header == ["a", "b"] for part in parts)


def test_a_column_is_as_wide_as_its_longest_word() -> None:
    (part,) = table_parts(Table("c", ["verdict", "why"], [["pass", "long words " * 18]]))
    assert sum(part.widths) == pytest.approx(1.0)
    assert part.widths[0] * 12.1 * 72 >= len("verdict") * 0.56 * part.size_pt


def test_checksums_are_cut_on_slides() -> None:
    (part,) = table_parts(Table("c", ["file", "SHA-256"], [["a", "0" * 64]]))
    assert part.rows[0][1] == "000000000000…"
