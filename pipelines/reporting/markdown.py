"""Markdown pages: a document as a page, or its sections between the marks of a page written by hand."""

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from pipelines.core.errors import DataError, expecting
from pipelines.core.files import atomic_path, output_folder, write_text
from pipelines.reporting.document import Document, Picture, Section, Table

Placed = Callable[[Picture], str]
"""Name under which a page links a picture."""

VALUE = re.compile(r"[-+<]? ?\d")
"""How a cell begins that holds a value and no words."""


def write_page(path: Path, document: Document) -> None:
    """Write a document as Markdown, its pictures beside it, none of a patient.

    If the page exists and has marked lines, see `block_marks`, only these are replaced.

    Args:
        path: Page to write; its folder is made if it does not exist.
        document: What to write.

    Raises:
        DataError: If a picture is missing, a table is not whole, or the page's marks are incomplete.
        OutputError: If a file cannot be written.
    """
    sections = [section.without_patients() for section in document.sections]
    names: dict[Path, str] = {}
    for picture in (picture for section in sections for picture in section.pictures):
        # Two folders may have a picture of one name.
        same = sum(one.stem == picture.path.stem for one in names if one != picture.path)
        names.setdefault(picture.path, f"{path.stem}-{picture.path.stem}{same or ''}.png")

    def placed(picture: Picture) -> str:
        return names[picture.path]

    old = _text_of(path)
    blocks = {section.block: "\n".join(_body(section, placed)) for section in sections if section.block}
    if re.search(r"<!-- [\w-]+:(start|end) -->", old):
        text = fill(path, old, blocks)
        kept = {one.path for section in sections if section.block for one in section.pictures}
    else:
        text = "\n".join(_page(document, sections, placed))
        kept = set(names)
    for source in kept:
        if not source.is_file():
            raise DataError(f"expected a picture at {source}, found no such file")
    output_folder(path.parent)
    for source in kept:
        with atomic_path(path.parent / names[source]) as temporary:
            shutil.copyfile(source, temporary)
    write_text(path, text)


def block_marks(name: str) -> tuple[str, str]:
    """Lines of a page between which a section goes; the words around them are kept."""
    return f"<!-- {name}:start -->", f"<!-- {name}:end -->"


def fill(page: Path, text: str, blocks: Mapping[str, str]) -> str:
    """Text of a page with what stands between the marks of each block replaced.

    Args:
        page: Path of the page, for messages.
        text: Its text.
        blocks: New content by the name of the block; those that the page has no marks for are left out.

    Raises:
        DataError: If the page has marks for none of them, or only one of the two marks of a block.
    """
    marked = [name for name in blocks if any(mark in text for mark in block_marks(name))]
    if not marked:
        first = " and ".join(block_marks(next(iter(blocks), "name")))
        raise DataError(f"expected the lines {first} in {page}, found none; put them back")
    for name in marked:
        start, end = block_marks(name)
        before, has_start, rest = text.partition(start)
        _, has_end, after = rest.partition(end)
        if not has_start or not has_end:
            raise DataError(f"expected the lines {start} and {end} in {page}, found one; put both back")
        text = f"{before}{start}\n\n{blocks[name].strip()}\n\n{end}{after}"
    return text


def fill_page(page: Path, blocks: Mapping[str, str]) -> Path:
    """Replace what stands between marks of a page; returns its path.

    Raises:
        DataError: As for `fill`.
        OutputError: If it cannot be written.
    """
    text = _text_of(page)
    write_text(page, fill(page, text, blocks))
    return page


def _text_of(page: Path) -> str:
    with expecting(f"a Markdown page at {page}"):
        return page.read_text(encoding="utf-8") if page.is_file() else ""


def fill_card(card: Path, document: Document) -> Path:
    """Replace the marked lines of a model card by sections of a document, without pictures."""
    plain = (
        Section("", one.paragraphs, one.points, one.tables, block=one.block) for one in document.sections
    )
    return fill_page(card, {one.block: "\n".join(_body(one, str)) for one in plain if one.block})


def markdown_table(table: Table) -> str:
    """A table whose columns of values are set to the right."""
    rows = [[cell.replace("|", "\\|") for cell in row] for row in table.texts()]
    columns = list(zip(*rows, strict=True)) or [()] * len(table.header)
    values = [any(column) and all(VALUE.match(cell) for cell in column if cell) for column in columns]
    lines = [list(table.header), ["---:" if is_value else "---" for is_value in values], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _page(document: Document, sections: Sequence[Section], placed: Placed) -> Iterator[str]:
    yield f"# {document.title}"
    yield ""
    if document.lead:
        yield document.lead
        yield ""
    for section in sections:
        yield f"{'#' * section.level} {section.title}"
        yield ""
        yield from _body(section, placed)


def _body(section: Section, placed: Placed) -> Iterator[str]:
    for paragraph in section.paragraphs:
        yield paragraph
        yield ""
    if section.points:
        yield from (f"- {point}" for point in section.points)
        yield ""
    for table in section.tables:
        if table.caption and table.caption != section.title:
            yield f"{table.caption}:"
            yield ""
        yield markdown_table(table)
        yield ""
    for picture in section.pictures:
        yield f"![{picture.alt}]({placed(picture)})"
        yield ""
        if picture.caption and picture.caption != picture.alt:
            yield picture.caption
            yield ""
    if section.references:
        yield from (f"- [{one.text}]({one.url})" for one in section.references)
        yield ""
    if section.listing:
        yield f"```text\n{section.listing}\n```"
        yield ""
