"""What the registry of readers says, for the terminal and for the documentation."""

from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.table import Table

from pipelines.core.files import write_text
from pipelines.datasets.readers import READERS, Reader
from pipelines.reporting.markdown import fill_blocks

BLOCK: Final = "readers"
"""Name of the block in the documentation that the registry fills, see `markdown.block_marks`."""


def datasets_table(readers: Iterable[Reader]) -> Table:
    """A row for each dataset: name, what it is, access, licence."""
    table = Table("name", "what", "access", "licence", show_lines=True)
    for reader in readers:
        table.add_row(reader.name, f"{reader.title}: {reader.content}", reader.access, reader.licence)
    return table


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
    text = page.read_text(encoding="utf-8") if page.is_file() else ""
    write_text(page, fill_blocks(page, text, {BLOCK: readers_markdown()}))
    return page
