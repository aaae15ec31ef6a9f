"""One document in every medium: nothing of it is lost."""

import io
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from pptx import Presentation
from pypdf import PdfReader
from report_folders import PNG
from rich.console import Console

from pipelines.core.cardiac import indices_from_volumes
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import AcdcLabel
from pipelines.inference.segment import StudyResult
from pipelines.reporting.document import Document, Picture, Section, Table, read_language
from pipelines.reporting.html import html_text, require_pdf, write_html, write_pdf
from pipelines.reporting.markdown import block_marks, markdown_table, write_page
from pipelines.reporting.slides import write_slides
from pipelines.reporting.terminal import render, study_tables, warning_lines

TABLE = Table("Dice by structure", ["structure", "Dice"], [["RV", "0.912"], ["LV", 0.5], ["MYO", None]])


def document(folder: Path) -> Document:
    folder.mkdir(exist_ok=True)
    (folder / "plot.png").write_bytes(PNG)
    (folder / "heart.png").write_bytes(PNG)
    pictures = [
        Picture(folder / "plot.png", "a plot"),
        Picture(folder / "heart.png", "a heart", of_patient=True),
    ]
    section = Section("Accuracy", ["Words."], ["One point."], [TABLE], pictures, block="accuracy")
    return Document("A result", "A lead.", [section])


def as_markdown(path: Path, shown: Document) -> str:
    write_page(path / "page.md", shown)
    return (path / "page.md").read_text(encoding="utf-8")


def as_html(path: Path, shown: Document) -> str:
    write_html(path / "page.html", shown)
    return (path / "page.html").read_text(encoding="utf-8")


def as_pdf(path: Path, shown: Document) -> str:
    try:
        require_pdf()
    except ConfigError:
        pytest.skip("Pango is not installed")
    write_pdf(path / "page.pdf", html_text(shown))
    return "\n".join(page.extract_text() for page in PdfReader(path / "page.pdf").pages)


def as_slides(path: Path, shown: Document) -> str:
    write_slides(path / "page.pptx", shown, read_language("en"))
    texts = []
    for slide in Presentation(str(path / "page.pptx")).slides:
        for shape in slide.shapes:
            cells = [cell.text for row in shape.table.rows for cell in row.cells] if shape.has_table else []
            texts += [*cells, *([shape.text_frame.text] if shape.has_text_frame else [])]
    return "\n".join(texts)


def as_terminal(path: Path, shown: Document) -> str:
    text = io.StringIO()
    for section in shown.sections:
        for table in section.tables:
            Console(file=text, width=100).print(render(table))
    return text.getvalue()


@pytest.mark.parametrize("written", [as_markdown, as_html, as_pdf, as_slides, as_terminal])
def test_every_medium_has_caption_header_and_cells(
    written: Callable[[Path, Document], str], tmp_path: Path
) -> None:
    text = written(tmp_path, document(tmp_path / "pictures"))
    for cell in ("Dice by structure", "structure", "RV", "0.912", "0.5", "MYO"):
        assert cell in text
    if written is not as_terminal:
        for words in ("A result", "A lead.", "Accuracy", "One point."):
            assert words in text


def test_a_markdown_page_takes_its_plots_along_and_no_picture_of_a_patient(tmp_path: Path) -> None:
    text = as_markdown(tmp_path / "docs", document(tmp_path / "pictures"))
    assert re.findall(r"!\[(.+)\]\((.+)\)", text) == [("a plot", "page-plot.png")]
    assert {path.name for path in (tmp_path / "docs").iterdir()} == {"page.md", "page-plot.png"}
    assert "| MYO |  |" in text


def test_pictures_of_one_name_from_two_folders_are_two_on_a_page(tmp_path: Path) -> None:
    sections = []
    for name in ("one", "two"):
        sections += document(tmp_path / name).sections
        (tmp_path / name / "plot.png").write_bytes(PNG + name.encode())
    text = as_markdown(tmp_path / "docs", Document("A result", "A lead.", sections))
    found = re.findall(r"!\[.+\]\((.+)\)", text)
    assert [(tmp_path / "docs" / name).read_bytes()[-3:] for name in found] == [b"one", b"two"]


def test_words_written_by_hand_stay_and_marked_lines_are_replaced(tmp_path: Path) -> None:
    start, end = block_marks("accuracy")
    other = "\n".join(block_marks("errors"))
    page = tmp_path / "page.md"
    page.write_text(f"# Mine\n\nRead with care.\n\n{start}\nold\n{end}\n\n{other}\n", encoding="utf-8")
    text = as_markdown(tmp_path, document(tmp_path / "pictures"))
    assert text.startswith(f"# Mine\n\nRead with care.\n\n{start}\n\nWords.\n")
    assert text.endswith(f"{end}\n\n{other}\n")
    assert "old" not in text
    page.write_text(text.replace(end, ""), encoding="utf-8")
    with pytest.raises(DataError, match="expected the lines <!-- accuracy:start --> and"):
        as_markdown(tmp_path, document(tmp_path / "pictures"))


def test_a_missing_picture_leaves_no_page(tmp_path: Path) -> None:
    shown = document(tmp_path / "pictures")
    (tmp_path / "pictures" / "plot.png").unlink()
    with pytest.raises(DataError, match="expected a picture at"):
        as_markdown(tmp_path / "docs", shown)
    assert not (tmp_path / "docs").exists()


def test_values_are_set_to_the_right_and_words_to_the_left() -> None:
    rows = [["RV", "0.91 (0.90 to 0.92)", "look", None], ["LV", "-3", "7 of 8", None], ["MYO", None, "x", 2]]
    assert (
        markdown_table(Table("t", ["a", "b", "c", "d"], rows)).splitlines()[1]
        == "| --- | ---: | --- | ---: |"
    )
    assert markdown_table(Table("t", ["a", "b"], [])).splitlines()[1] == "| --- | --- |"


def test_a_bar_in_a_cell_does_not_end_it(tmp_path: Path) -> None:
    shown = Document("A", "", [Section("s", tables=[Table("t", ["a", "b"], [["x|y", "z"]])])])
    assert "| x\\|y | z |" in as_markdown(tmp_path, shown)


def test_the_table_of_studies_fits_80_columns_and_shows_volumes_of_unknown_phase() -> None:
    volumes = {AcdcLabel.RV: 101.5, AcdcLabel.MYO: 102.5, AcdcLabel.LV: 103.5}
    measured = StudyResult(
        "patient001_with_a_long_name_4d", "1", indices=indices_from_volumes(volumes, volumes)
    )
    text = io.StringIO()
    for table in study_tables([measured, StudyResult("one", "2", volumes_ml=volumes)]):
        Console(file=text, width=80).print(table)
    shown = text.getvalue()
    assert "…" not in shown
    assert [line.split()[1::2] for line in shown.splitlines() if "one" in line] == [
        ["one", "103.5", "101.5", "102.5"]
    ]
    assert "Volumes, phase unknown" in shown


def test_a_warning_is_shown_once_for_all_that_it_is_about() -> None:
    many = [(f"image{number}", "it is small") for number in range(4)]
    assert warning_lines([("a", "it is turned"), *many, ("b", "it is turned")]) == [
        "a, b: it is turned",
        "4 of them: it is small",
    ]


def test_the_terminal_shows_how_many_rows_are_left_out() -> None:
    table = Table("", ["image, by its name in the folder"], [[f"[red] {index}"] for index in range(50)])
    text = io.StringIO()
    Console(file=text, width=60).print(render(table))
    assert "[red] 39" in text.getvalue()
    assert "10 more are in the table file" in text.getvalue()
