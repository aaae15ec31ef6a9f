"""A report on a folder of every kind, in each language, as HTML, PDF and slides."""

import hashlib
import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import html5lib
import pytest
from pptx import Presentation
from pypdf import PdfReader
from report_folders import page_of, rows_of, write_all, write_evaluation, write_training
from typer.testing import CliRunner

import pipelines
from pipelines.cli.main import app
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import file_sha256
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.reporting.document import Format, known_languages, read_language
from pipelines.reporting.html import require_pdf
from pipelines.reporting.markdown import block_marks
from pipelines.reporting.report import (
    KINDS,
    changes,
    differing_versions,
    models_table,
    versions_table,
    write_report,
)
from pipelines.reporting.slides import MAX_SLIDES
from pipelines.reporting.source import Source, read_sources

CHAPTERS = ("problem", "related", "data", "method", "recipe", "results", "errors", "limits")
CHAPTERS += ("suggestions", "models", "versions", "changes")

ENGLISH = read_language("en")
TITLES = {"en": "My <hearts>"}
"""Titles that are given; the others are those of the language."""


def formats() -> list[Format]:
    """All that can be written here: the PDF needs a library of the system."""
    try:
        require_pdf()
    except ConfigError:
        return [Format.HTML, Format.PPTX]
    return [Format.HTML, Format.PDF, Format.PPTX]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_all(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module", params=known_languages())
def report(
    request: pytest.FixtureRequest, folders: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Path]:
    output = tmp_path_factory.mktemp(request.param)
    title = TITLES.get(request.param, "")
    write_report(folders, output, language=request.param, title=title, formats=formats())
    return request.param, output


def test_html_is_valid_and_has_every_chapter_in_order(report: tuple[str, Path]) -> None:
    code, output = report
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    document = parser.parse((output / "report.html").read_text(encoding="utf-8"))
    words = read_language(code)
    assert document.get("lang") == code
    assert document.get("dir") == ("rtl" if words.is_rtl else None)
    headings = ["".join(heading.itertext()) for heading in document.iter("h2")]
    # A changelog is written in English.
    chapters = CHAPTERS if code == "en" else CHAPTERS[:-1]
    assert headings == [words(f"chapter.{name}") for name in chapters]


def test_no_english_sentence_is_left_in_another_language(report: tuple[str, Path]) -> None:
    code, output = report
    page = (output / "report.html").read_text(encoding="utf-8").partition("<body")[2]
    text = html.unescape(re.sub(r"<pre.*?</pre>|<[^>]+>", "", page, flags=re.DOTALL))
    text = re.sub("thorax[ a-z,-]+", "", text)  # commands, and names of packages
    left = re.findall(r"\b[a-z]+,? (?:[a-z]+,? )+[a-z]{2,}\b", text)
    assert bool(left) == (code == "en"), left


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
    assert len(titles) == MAX_SLIDES
    for key in ("problem", "limits", "suggestions"):
        assert words(f"chapter.{key}") in titles
    for key in ("related", "models", "changes"):
        assert words(f"chapter.{key}") not in titles
    shapes = [shape for slide in deck.slides for shape in slide.shapes]
    drawn = [shape for shape in shapes if shape.shape_type == 13 or shape.has_chart or shape.has_table]
    assert all(shape._element.xpath(".//p:cNvPr")[0].get("descr") for shape in drawn)
    assert any(shape.has_chart for shape in shapes)
    first = next(shape.table for shape in shapes if shape.has_table)
    corner = first.cell(0, len(first.columns) - 1 if words.is_rtl else 0)
    assert corner.text_frame.text in (words("data.urgency"), words("table.group"))


def test_slides_stay_on_the_slide(report: tuple[str, Path]) -> None:
    deck = Presentation(str(report[1] / "slides.pptx"))
    for number, slide in enumerate(deck.slides, start=1):
        for shape in slide.shapes:
            assert shape.left >= 0, number
            assert shape.left + shape.width <= deck.slide_width, number
            assert shape.top + shape.height <= deck.slide_height, number


def test_manifest_names_the_folders_and_the_files(report: tuple[str, Path]) -> None:
    manifest = json.loads((report[1] / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["sources"]["test_unet"] == "evaluation"
    assert manifest["outputs"] == [one.file_name for one in formats()]


def test_foreign_words_are_isolated_in_text_from_right_to_left_alone(report: tuple[str, Path]) -> None:
    code, output = report
    text = (output / "report.html").read_text(encoding="utf-8")
    isolated = '<td dir="ltr" lang="en"><bdi dir="ltr" lang="en">unet</bdi></td>'
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
    write_report(chosen, shown, formats=[Format.HTML])
    write_report(chosen, hidden, formats=[Format.HTML], figures_only=chosen)
    with_them, without = (len(_pictures(folder / "report.html")) for folder in (shown, hidden))
    assert with_them - without == len(list((chosen[0] / "overlays").iterdir())) + 1
    text = (hidden / "report.html").read_text(encoding="utf-8")
    assert "Segmented images of test_unet are left out: they show patients." in text
    with pytest.raises(DataError, match="expected --figures-only to name folders of the report"):
        write_report(chosen[:1], tmp_path / "none", figures_only=chosen[1:])


def test_an_unknown_language_is_an_error_that_names_the_known(folders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a language among en, fa, found 'xx'"):
        write_report(folders, tmp_path / "out", language="xx")
    assert not (tmp_path / "out").exists()


def sources_of(*folders: Path) -> list[Source]:
    return read_sources(KINDS, folders)


def test_renamed_folders_give_the_same_page(tmp_path: Path) -> None:
    """Networks, test-time augmentation and batch size are recorded by the commands that compute."""
    folders = [write_training(tmp_path / "a"), write_evaluation(tmp_path / "b", weights=b"weights", tta=True)]
    folders.append(write_evaluation(tmp_path / "c", networks=("unet", "vnet")))
    before = page_of(tmp_path / "before", *folders)
    assert "UNet, TTA | Mean of UNet, VNet" in before
    renamed = [
        folder.rename(tmp_path / name)
        for folder, name in zip(folders, ("vnet_run", "test_vnet", "plain_tta"), strict=True)
    ]
    assert page_of(tmp_path / "after", *renamed) == before
    study = models_table(sources_of(*renamed), ENGLISH).rows
    assert [row[0] for row in study] == ["a", "c, unet of the bundle", "c, vnet of the bundle"]


def test_a_run_has_the_values_of_the_evaluation_of_its_weights(tmp_path: Path) -> None:
    run = write_training(tmp_path / "unet")
    evaluation = write_evaluation(tmp_path / "test_unet", weights=b"weights")
    (row,) = models_table(sources_of(evaluation, run), ENGLISH).rows
    assert row[:4] == ["unet", "unet", "all folds but 0, split d2ca6160d7a3af2a", "0.800"]
    assert str(row[4]).startswith("test_unet: 0.800 (")
    assert row[5:] == ["unet/best.pt", hashlib.sha256(b"weights").hexdigest()]


def test_other_weights_are_a_model_of_their_own_with_their_fingerprint(tmp_path: Path) -> None:
    run = write_training(tmp_path / "unet")
    evaluation = write_evaluation(tmp_path / "test_unet", weights=b"others")
    first, second = models_table(sources_of(run, evaluation), ENGLISH).rows
    assert first[4] is None
    digest = hashlib.sha256(b"others").hexdigest()[:16]
    assert (second[0], second[5], second[6]) == ("test_unet", None, f"{digest}…")


def test_the_bundles_own_weights_are_the_bundles_model(tmp_path: Path) -> None:
    (row,) = models_table(sources_of(write_evaluation(tmp_path / "test_unet")), ENGLISH).rows
    assert row[6] == file_sha256(ACDC_BUNDLE / "models" / "unet" / "model.pt")
    assert row[3] is None


def test_an_evaluation_without_a_manifest_is_of_no_model(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "test_unet")
    (folder / "manifest.json").unlink()
    assert models_table(sources_of(folder), ENGLISH).rows == []


def test_weights_that_are_gone_have_no_checksum(tmp_path: Path) -> None:
    run = write_training(tmp_path / "unet")
    (run / "best.pt").unlink()
    (row,) = models_table(sources_of(run), ENGLISH).rows
    assert row[6] == ENGLISH("models.gone")


def test_versions_stand_beside_those_of_the_folders(tmp_path: Path) -> None:
    table = versions_table(sources_of(write_training(tmp_path / "run")), ENGLISH)
    rows = {row[0]: row[1:] for row in table.rows}
    assert list(rows["thorax"]) == [pipelines.__version__, "0.0.9"]
    assert rows["torch"][1] == "2.0.0"
    assert rows["monai"][1] == "–"
    assert {"thorax", "torch"} <= set(differing_versions(table))
    assert "monai" not in differing_versions(table)


def test_changes_are_those_of_this_version(tmp_path: Path) -> None:
    log = tmp_path / "CHANGELOG.md"
    log.write_text(
        f"# C\n\n## {pipelines.__version__}\n\n- `a` does\n  this.\n- b.\n\n## 0.0.1\n\n- old.\n",
        encoding="utf-8",
    )
    assert changes(log) == ["`a` does this.", "b."]
    assert changes(tmp_path / "none.md") == []


def test_marked_lines_of_a_card_take_the_results_and_the_rest_stays(tmp_path: Path) -> None:
    start, end = block_marks("accuracy")
    card = tmp_path / "README.md"
    card.write_text(f"# Card\n\n{start}\nold values\n{end}\n\nafter\n", encoding="utf-8")
    folders = [write_training(tmp_path / "unet"), write_evaluation(tmp_path / "test_unet", weights=b"1")]
    write_report(folders, tmp_path / "page.md", cards=[card])
    once = card.read_text(encoding="utf-8")
    assert once.startswith(f"# Card\n\n{start}\n\n")
    assert once.endswith(f"{end}\n\nafter\n")
    assert "old values" not in once
    assert rows_of(once)["samples seen"] == ["360"]
    write_report(folders, tmp_path / "page.md", cards=[card])
    assert card.read_text(encoding="utf-8") == once
    card.write_text("# Card\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected the lines <!-- runs:start -->"):
        write_report(folders, tmp_path / "new" / "page.md", cards=[card])
    assert not (tmp_path / "new").exists()


def test_the_ending_of_a_file_is_its_format(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "test_unet")
    with pytest.raises(ConfigError, match="one file whose ending is the format"):
        write_report([folder], tmp_path / "page.md", formats=[Format.HTML])
    assert "failure" not in page_of(tmp_path, folder)
    assert not list(tmp_path.glob("page-*low*.png"))  # pictures of patients stay with the data


def test_an_old_name_of_a_page_names_the_command_that_replaces_it(tmp_path: Path) -> None:
    folder = write_all(tmp_path)[3]
    words = ["results", "recipe", "--recipe", str(folder), "--output", str(tmp_path / "docs")]
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    page = tmp_path / "docs" / "recipe.md"
    assert result.output.splitlines()[0] == (
        f"thorax results recipe is now: thorax report {folder} --output {page}"
    )
    assert "Overfit a small batch" in page.read_text(encoding="utf-8")
    assert re.search(r"│ results\b", CliRunner().invoke(app, ["--help"]).output) is None
    assert CliRunner().invoke(app, ["results", "nothing"]).exception is not None


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
