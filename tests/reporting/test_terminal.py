from pathlib import Path

import pytest
from rich.console import Console

from pipelines.core.errors import DataError
from pipelines.datasets.readers import READERS, find_reader
from pipelines.reporting.terminal import datasets_table, fill_readers_page, reader_lines

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "datasets.md"


def test_the_documentation_says_what_the_registry_says(tmp_path: Path) -> None:
    page = tmp_path / "datasets.md"
    page.write_text(PAGE.read_text(encoding="utf-8"), encoding="utf-8")
    fill_readers_page(page)
    assert page.read_text(encoding="utf-8") == PAGE.read_text(encoding="utf-8"), (
        "run: thorax datasets --page docs/how-to/datasets.md"
    )


def test_the_table_has_a_row_for_each_dataset() -> None:
    console = Console(width=400)
    with console.capture() as seen:
        console.print(datasets_table(READERS.values()))
    for reader in READERS.values():
        assert reader.name in seen.get()
        assert reader.licence in seen.get()


def test_one_dataset_is_reported_with_its_layout() -> None:
    lines = reader_lines(find_reader("mnms"))
    assert lines[0].startswith("mnms: Multi-Centre")
    assert "  Training/Labeled/A0S9V9/A0S9V9_sa_gt.nii.gz" in lines
    assert any("frames in the table count from 0" in line for line in lines)


def test_a_page_without_marks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="readers:start"):
        fill_readers_page(tmp_path / "none.md")


def test_a_page_that_is_no_text_is_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_bytes(b"\x1f\x8b\x08")
    with pytest.raises(DataError, match=r"expected a Markdown page at .*page\.md, found no text in UTF-8"):
        fill_readers_page(page)
