"""HTML that needs nothing else: text, tables and pictures in one file, and the same laid out as PDF."""

import logging
import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape
from PIL import ImageFile

import pipelines
from pipelines.core.files import atomic_path, write_text
from pipelines.core.install import import_extra
from pipelines.reporting.document import (
    DEFAULT,
    ISOLATE,
    POP_ISOLATE,
    RIGHT_TO_LEFT,
    Document,
    Language,
    cell_text,
    read_language,
)

LONGEST_WORD = 40
"""Letters of a word from which on it may be broken anywhere."""

_RUN = re.compile(
    f"{ISOLATE}[^{POP_ISOLATE}]*{POP_ISOLATE}"
    f"|[+\\-]?[A-Za-z0-9](?:(?:(?!: )[^{RIGHT_TO_LEFT}{ISOLATE}])*[A-Za-z0-9%])?"
)
"""A marked sentence, or words and figures up to a colon: what follows it belongs to the text around."""

RIGHT_TO_LEFT_MARK, EMBED, POP = "\u200f", "\u202a", "\u202c"
"""For programs that know no isolation: a letter of no width, and the ends of an embedding."""


def write_html(path: Path, document: Document, language: Language | None = None) -> None:
    """Write a document as one HTML file with everything in it.

    Text is escaped, pictures are embedded, and the file loads nothing from outside.

    Args:
        path: HTML file to write; its folder is made if it does not exist.
        document: What to write.
        language: Of the document; English without it.

    Raises:
        DataError: If a picture is missing, or the rows of a table do not fit its header.
        OutputError: If the file cannot be written.
    """
    write_text(path, html_text(document, language))


def html_text(document: Document, language: Language | None = None) -> str:
    """The text that `write_html` writes.

    In a language that runs from right to left, foreign words and numbers are isolated.

    Raises:
        DataError: If a picture is missing, or the rows of a table do not fit its header.
    """
    words = language or read_language(DEFAULT)
    for section in document.sections:
        for table in section.tables:
            table.texts()
    environment = Environment(
        loader=PackageLoader("pipelines.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["cell"] = cell_text
    environment.filters["isolated"] = lambda text: isolate(text, words)
    environment.filters["direction"] = lambda text: (
        Markup(' dir="ltr" lang="en"') if is_foreign(text, words) else ""
    )
    environment.filters["figures"] = lambda table: [
        index > 0 and all(_is_figure(row[index]) for row in table.rows) for index in range(len(table.header))
    ]
    environment.tests["unbroken"] = _is_unbroken
    template = environment.get_template("report.html.j2")
    text = template.render(
        title=document.title,
        lead=document.lead,
        sections=document.sections,
        is_sheet=document.is_sheet,
        words=words,
        version=pipelines.__version__,
    )
    return text + "\n"


def require_pdf() -> Any:
    """The package that lays out pages.

    Importing it lets Pillow read truncated pictures in the whole process; that is undone here, since a
    truncated radiograph must be refused.

    Raises:
        ConfigError: If it, or the libraries of the system that it needs, are not there.
    """
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        otherwise = "install Pango (Debian and Ubuntu: libpangoft2-1.0-0), or leave the PDF out by --format"
        return import_extra("weasyprint", "report", "WeasyPrint and Pango for a PDF", otherwise)
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated


def write_pdf(path: Path, html: str) -> None:
    """Write an HTML document as a tagged PDF; nothing but what is in the document is read.

    Args:
        path: PDF to write.
        html: Document as from `html_text`.

    Raises:
        ConfigError: If WeasyPrint is not there.
        OutputError: If the file cannot be written.
    """
    weasyprint = require_pdf()
    # Rules for the screen that pages do not know are no concern of the reader's.
    logging.getLogger("weasyprint").setLevel(logging.ERROR)
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    fetcher = weasyprint.urls.URLFetcher(allowed_protocols=("data",))
    with atomic_path(path) as temporary:
        weasyprint.HTML(string=html, url_fetcher=fetcher).write_pdf(temporary, pdf_tags=True)


def is_foreign(text: str, language: Language) -> bool:
    """Whether words of another direction stand in a text of a right-to-left language alone."""
    return language.is_rtl and not re.search(f"[{RIGHT_TO_LEFT}]", text)


def isolate(text: str, language: Language) -> Markup:
    """Escaped text whose foreign words and figures keep their order and leave their surroundings alone.

    Args:
        text: Plain text.
        language: Of the text around it. Nothing but escaping is done where it runs from left to right.

    References:
        Unicode Bidirectional Algorithm, https://www.unicode.org/reports/tr9/.
    """
    if not language.is_rtl:
        return escape(text)
    if is_foreign(text, language):
        return Markup('<bdi dir="ltr" lang="en">{}</bdi>').format(text)
    return Markup("").join(
        Markup('<bdi dir="ltr">{}</bdi>').format(piece) if is_run else escape(piece)
        for piece, is_run in split_runs(text)
    )


def marked(text: str, language: Language) -> str:
    """Text for programs without isolation: foreign runs are embedded, and a mark keeps the next apart."""
    if not language.is_rtl:
        return text
    if is_foreign(text, language):
        return f"{EMBED}{text}{POP}"
    return "".join(
        f"{EMBED}{piece}{POP}{RIGHT_TO_LEFT_MARK}" if is_run else piece for piece, is_run in split_runs(text)
    )


def split_runs(text: str) -> list[tuple[str, bool]]:
    """Pieces of a text in their order, each with whether it runs from left to right."""
    pieces: list[tuple[str, bool]] = []
    start = 0
    while found := _RUN.search(text, start):
        begin, end = found.span()
        run = found[0].strip(ISOLATE + POP_ISOLATE)
        # A bracket that opens within a run closes right after it, or is not part of it.
        if not found[0].startswith(ISOLATE) and run.count("(") > run.count(")"):
            if text[end : end + 1] == ")":
                end += 1
            else:
                end = begin + len(run[: run.rindex("(")].rstrip())
            run = text[begin:end]
        if begin > start:
            pieces.append((text[start:begin], False))
        pieces.append((run, True))
        start = end
    if start < len(text):
        pieces.append((text[start:], False))
    return pieces


def _is_unbroken(value: Any) -> bool:
    """A word that is wider than a column may be, such as a checksum."""
    return isinstance(value, str) and len(value) > LONGEST_WORD and " " not in value


def _is_figure(value: Any) -> bool:
    """Numbers, and text that is nothing but one, perhaps with its spread or as a bound."""
    if isinstance(value, str):
        return re.fullmatch(r"(< )?[+-]?[\d,]+(\.\d+)?( ± \d+(\.\d+)?)?", value) is not None
    return value is None or isinstance(value, float | int)
