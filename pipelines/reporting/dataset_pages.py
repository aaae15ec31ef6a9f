"""What the registry of readers says, for the terminal and for the documentation."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.table import Table as RichTable

from pipelines.datasets.readers import READERS, Reader
from pipelines.reporting.document import Table
from pipelines.reporting.markdown import fill_page
from pipelines.reporting.terminal import render

BLOCK: Final = "readers"
"""Name of the block in the documentation that the registry fills, see `markdown.block_marks`."""


def datasets_table(readers: Iterable[Reader]) -> RichTable:
    """A row for each dataset: name, content, access, licence."""
    rows = [[one.name, f"{one.title}: {one.content}", one.access, one.licence] for one in readers]
    return render(Table("", ["name", "content", "access", "licence"], rows), show_lines=True)


def reader_lines(reader: Reader) -> list[str]:
    """All that is known of a dataset, for the terminal."""
    return [
        f"{reader.name}: {reader.title}",
        f"holds      {reader.content}",
        f"labels     {reader.labels}",
        f"access     {reader.access}",
        f"licence    {reader.licence}",
        f"reference  {reader.reference}",
        "layout",
        *(f"  {line}" for line in reader.layout.splitlines()),
    ]


def readers_markdown() -> str:
    """The registry as sections of a page."""
    parts = []
    for reader in READERS.values():
        parts += [
            f"### {reader.name}",
            "",
            f"{reader.title}. [Reference]({reader.reference}).",
            "",
            f"- Holds: {reader.content}.",
            f"- Labels: {reader.labels}.",
            f"- Access: {reader.access}.",
            f"- Licence: {reader.licence}.",
            "",
            "```text",
            reader.layout,
            "```",
            "",
        ]
    return "\n".join(parts).strip()


def fill_readers_page(page: Path) -> Path:
    """Put the registry between the marks of a page; returns its path.

    Args:
        page: Existing Markdown page with the lines that `block_marks` gives for `BLOCK`.

    Raises:
        DataError: If the page or its marks are not there.
        OutputError: If it cannot be written.
    """
    return fill_page(page, {BLOCK: readers_markdown()})
