"""A document is one sound, safe, self-contained HTML file."""

import base64
import importlib.util
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

from pipelines.core.errors import DataError
from pipelines.reporting.document import MISSING, Cell, Document, Picture, Section, Table
from pipelines.reporting.html import write_html

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
VOID = {"meta", "img"}


class Tree(HTMLParser):
    """Checks that tags nest, and keeps tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        names = [name for name, _ in attrs]
        assert len(names) == len(set(names)), f"an attribute stands twice in {tag}"
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.texts.append((self.open[-1], data))

    def of(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements with a tag."""
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "picture.png").write_bytes(PNG)
    section = Section(
        title="Figures & <more>",
        paragraphs=["<script>alert(1)</script>"],
        tables=[
            Table(
                "EF, percent",
                ["patient", "EF", "count"],
                [["a<b", 61.26, 3], ["c", None, 2], ["d", float("nan"), 1]],
            )
        ],
        pictures=[Picture(tmp_path / "picture.png", 'a "heart"', "caption")],
        listing='{"a": "<b>"}',
    )
    path = tmp_path / "new" / "report.html"
    write_html(path, Document("A report", "It worked.", [section, Section("Empty")]))
    return path.read_text(encoding="utf-8")


@pytest.fixture
def tree(text: str) -> Tree:
    tree = Tree()
    tree.feed(text)
    tree.close()
    assert tree.open == []
    return tree


def test_document_has_type_language_character_set_and_title(text: str, tree: Tree) -> None:
    assert text.startswith("<!DOCTYPE html>")
    assert tree.of("html") == [{"lang": "en"}]
    assert {"charset": "utf-8"} in tree.of("meta")
    assert ("title", "A report") in tree.texts
    assert len(tree.of("h1")) == 1


def test_text_is_escaped_everywhere(text: str, tree: Tree) -> None:
    assert tree.of("script") == []
    assert ("p", "<script>alert(1)</script>") in tree.texts
    assert ("h2", "Figures & <more>") in tree.texts
    assert ("th", "a<b") in tree.texts
    assert ("pre", '{"a": "<b>"}') in tree.texts
    assert tree.of("img")[0]["alt"] == 'a "heart"'


def test_nothing_is_loaded_from_outside(text: str, tree: Tree) -> None:
    assert re.findall(r"https?:|url\(|@import", text) == []
    assert [tag for tag in ("link", "script", "iframe", "object") if tree.of(tag)] == []
    assert all(str(link["href"]).startswith("#") for link in tree.of("a"))


def test_picture_is_embedded_byte_for_byte(tree: Tree) -> None:
    kind, _, content = str(tree.of("img")[0]["src"]).partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == PNG


def test_tables_have_a_caption_and_headers_with_a_scope(tree: Tree) -> None:
    assert ("caption", "EF, percent") in tree.texts
    scopes = [header["scope"] for header in tree.of("th")]
    assert scopes == ["col"] * 3 + ["row"] * 3


def test_figures_have_one_digit_and_undefined_ones_are_dashes(tree: Tree) -> None:
    assert [text for tag, text in tree.texts if tag == "td"] == ["61.3", "3", MISSING, "2", MISSING, "1"]


def test_a_column_is_aligned_as_one(tmp_path: Path) -> None:
    rows: list[list[Cell]] = [["a", "1,152", 2, "< 0.001"], ["b", None, "sgd", "0.200"]]
    table = Table("settings", ["", "samples", "value", "p"], rows)
    write_html(tmp_path / "report.html", Document("", "", [Section("one", tables=[table])]))
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    header = re.findall(r'<th scope="col"( class="figure")?>', text)
    cells = re.findall(r'<td( class="figure")?>', text)
    assert [bool(one) for one in header] == [False, True, False, True]
    assert [bool(one) for one in cells] == [True, False, True] * 2


def test_links_lead_to_sections_and_ids_are_unique(tree: Tree) -> None:
    ids = [attributes["id"] for _, attributes in tree.tags if "id" in attributes]
    assert len(ids) == len(set(ids)) == 2
    assert [link["href"] for link in tree.of("a")] == [f"#{name}" for name in ids]


def test_a_missing_picture_is_a_data_error(tmp_path: Path) -> None:
    section = Section("one", pictures=[Picture(tmp_path / "none.png", "nothing")])
    with pytest.raises(DataError, match="expected a picture at"):
        write_html(tmp_path / "report.html", Document("", "", [section]))
    assert list(tmp_path.iterdir()) == []


def test_a_row_that_does_not_fit_its_header_is_a_data_error(tmp_path: Path) -> None:
    section = Section("one", tables=[Table("two columns", ["a", "b"], [["x", 1.0], ["y"]])])
    with pytest.raises(DataError, match="expected 2 cells in each row of 'two columns', found 1"):
        write_html(tmp_path / "report.html", Document("", "", [section]))


def test_truncated_pictures_stay_refused_after_a_pdf() -> None:
    if importlib.util.find_spec("weasyprint") is None:
        pytest.skip("WeasyPrint is not installed")
    code = (
        "from PIL import ImageFile\n"
        "from pipelines.core.errors import ConfigError\n"
        "from pipelines.reporting.html import require_pdf\n"
        "try:\n"
        "    require_pdf()\n"
        "except ConfigError:\n"
        "    pass\n"
        "print(ImageFile.LOAD_TRUNCATED_IMAGES)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "False"
