"""A report on a folder of every kind, in each language, as HTML, PDF and slides."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import html5lib
import pytest
from pptx import Presentation
from pypdf import PdfReader
from report_folders import write_all

from pipelines.core.errors import ConfigError, DataError
from pipelines.reporting.language import known_languages, read_language
from pipelines.reporting.report.formats import Format
from pipelines.reporting.report.pdf import require_pdf
from pipelines.reporting.report.write import write_study_report

CHAPTERS = ("problem", "related", "data", "method", "recipe", "results", "errors", "limits")
CHAPTERS += ("suggestions", "models", "versions", "changes")

TITLES = {"en": "My <hearts>"}
"""Titles that are given; the others are those of the language."""


def formats() -> list[Format]:
    """All that can be written here: the PDF needs a library of the system."""
    try:
        require_pdf()
    except ConfigError:
        return [Format.HTML, Format.PPTX]
    return list(Format)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_all(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module", params=known_languages())
def report(
    request: pytest.FixtureRequest, folders: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    output = tmp_path_factory.mktemp(request.param)
    title = TITLES.get(request.param, "")
    write_study_report(folders, output, language=request.param, title=title, formats=formats())
    return request.param, output


def test_html_is_valid_and_has_every_chapter_in_order(report: tuple[str, Path]) -> None:
    code, output = report
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    document = parser.parse((output / "report.html").read_text(encoding="utf-8"))
    words = read_language(code)
    assert document.get("lang") == code
    assert document.get("dir") == ("rtl" if words.is_rtl else None)
    headings = ["".join(heading.itertext()) for heading in document.iter("h2")]
    assert headings == [words(f"chapter.{name}") for name in CHAPTERS]


def test_links_lead_somewhere_and_nothing_is_requested(report: tuple[str, Path]) -> None:
    text = (report[1] / "report.html").read_text(encoding="utf-8")
    ids = re.findall(r'\bid="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    targets = re.findall(r'href="([^"]*)"', text)
    assert {target[1:] for target in targets if target.startswith("#")} <= set(ids)
    outside = [target for target in targets if not target.startswith("#")]
    assert outside
    assert all(re.match(r"https://(doi\.org/10\.|arxiv\.org/abs/)", target) for target in outside)
    assert all(source.startswith("data:image/png;base64,") for source in re.findall(r'\bsrc="([^"]*)', text))
    assert re.findall(r"<(?:script|link|iframe|object)|url\(|@import", text) == []


def test_at_least_five_segmented_images_are_shown_with_a_description(report: tuple[str, Path]) -> None:
    code, output = report
    text = (output / "report.html").read_text(encoding="utf-8")
    start = read_language(code)("evaluation.overlay_alt", image="@").partition("@")[0]
    assert text.count(f'alt="{start}') == 5
    assert 'alt=""' not in text


def test_pdf_has_pages_with_text(report: tuple[str, Path]) -> None:
    if Format.PDF not in formats():
        pytest.skip("Pango is not installed")
    pages = PdfReader(report[1] / "report.pdf").pages
    text = "\n".join(page.extract_text() for page in pages)
    assert len(pages) > 3
    assert "test_unet" in text
    assert "0.850" in text or "0.800" in text


def test_slides_have_titles_tables_charts_and_described_pictures(report: tuple[str, Path]) -> None:
    code, output = report
    words = read_language(code)
    deck = Presentation(str(output / "slides.pptx"))
    titles = [_plain(slide.shapes.title.text_frame.text) for slide in deck.slides]
    assert titles[0] == TITLES.get(code, words("report.title"))
    for key in ("problem", "related", "method", "limits", "suggestions", "models"):
        assert words(f"chapter.{key}") in titles
    assert words("chapter.changes") not in titles
    shapes = [shape for slide in deck.slides for shape in slide.shapes]
    drawn = [shape for shape in shapes if shape.shape_type == 13 or shape.has_chart or shape.has_table]
    assert all(shape._element.xpath(".//p:cNvPr")[0].get("descr") for shape in drawn)
    assert sum(shape.has_chart for shape in shapes) == 2
    first = next(shape.table for shape in shapes if shape.has_table)
    corner = first.cell(0, len(first.columns) - 1 if words.is_rtl else 0)
    assert corner.text_frame.text == words("table.group")


def test_slides_stay_on_the_slide(report: tuple[str, Path]) -> None:
    deck = Presentation(str(report[1] / "slides.pptx"))
    for number, slide in enumerate(deck.slides, start=1):
        for shape in slide.shapes:
            assert shape.left >= 0, number
            assert shape.left + shape.width <= deck.slide_width, number
            assert shape.top + shape.height <= deck.slide_height, number


def test_manifest_names_the_folders_and_the_files(report: tuple[str, Path]) -> None:
    manifest = json.loads((report[1] / "manifest.json").read_text())
    assert manifest["sources"]["test_unet"] == "evaluation"
    assert manifest["outputs"] == [one.file_name for one in formats()]


def test_foreign_words_are_isolated_in_text_from_right_to_left_alone(report: tuple[str, Path]) -> None:
    code, output = report
    text = (output / "report.html").read_text(encoding="utf-8")
    isolated = '<td dir="ltr" lang="en"><bdi dir="ltr" lang="en">at least 0.75</bdi></td>'
    assert (isolated in text) == read_language(code).is_rtl
    assert ('<bdi dir="ltr">unet</bdi>' in text) == read_language(code).is_rtl


def test_a_title_of_ones_own_is_taken_and_escaped(report: tuple[str, Path]) -> None:
    code, output = report
    expected = "My &lt;hearts&gt;" if code == "en" else read_language(code)("report.title").partition(" ")[0]
    assert f"<h1>{expected}" in (output / "report.html").read_text(encoding="utf-8")


def test_pictures_of_patients_are_left_out_and_the_report_says_so(
    folders: list[Path], tmp_path: Path
) -> None:
    shown, hidden = tmp_path / "shown", tmp_path / "hidden"
    chosen = [folder for folder in folders if folder.name in ("test_unet", "errors")]
    shutil.copy(chosen[1] / "pictures" / "agreement_lv.png", chosen[1] / "pictures" / "failure_01_p1.png")
    write_study_report(chosen, shown, formats=[Format.HTML])
    write_study_report(chosen, hidden, formats=[Format.HTML], figures_only=chosen)
    with_them, without = (len(_pictures(folder / "report.html")) for folder in (shown, hidden))
    assert with_them - without == len(list((chosen[0] / "overlays").iterdir())) + 1
    text = (hidden / "report.html").read_text(encoding="utf-8")
    assert "Segmented images of test_unet are left out: they show patients." in text
    with pytest.raises(DataError, match="expected --figures-only to name folders of the report"):
        write_study_report(chosen[:1], tmp_path / "none", figures_only=chosen[1:])


def test_an_unknown_language_is_an_error_that_names_the_known(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a language among en, fa, found 'xx'"):
        write_study_report(folders, tmp_path / "out", language="xx")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_libreoffice_opens_the_slides(report: tuple[str, Path], tmp_path: Path) -> None:
    office = shutil.which("soffice")
    if office is None:
        pytest.skip("LibreOffice (soffice) is not installed")
    slides = report[1] / "slides.pptx"
    home = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
    subprocess.run(
        [office, home, "--headless", "--convert-to", "pdf", "--outdir", str(tmp_path), str(slides)],
        check=True,
        capture_output=True,
        timeout=300,
    )
    pages = PdfReader(tmp_path / "slides.pdf").pages
    assert len(pages) == len(Presentation(str(slides)).slides)


def _pictures(page: Path) -> list[str]:
    return re.findall(r"<img [^>]*>", page.read_text(encoding="utf-8"))


def _plain(text: str) -> str:
    """Without marks of direction."""
    return re.sub("[\u200f\u202a\u202c]", "", text)
