"""Writes a report on folders of runs as HTML, PDF and slides."""

import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipelines.core.files import output_folder
from pipelines.core.manifest import write_manifest
from pipelines.reporting.html import report_text, write_report
from pipelines.reporting.language import Language, read_language
from pipelines.reporting.report.document import Document, make_document
from pipelines.reporting.report.formats import Format
from pipelines.reporting.report.pdf import require_pdf, write_pdf
from pipelines.reporting.report.registry import read_sources
from pipelines.reporting.report.slides import require_slides, write_slides


def write_study_report(
    folders: Sequence[Path],
    output: Path,
    *,
    language: str = "en",
    title: str = "",
    formats: Sequence[Format] = tuple(Format),
    figures_only: Sequence[Path] = (),
) -> list[Path]:
    """Write a report on what commands of `thorax` left in some folders.

    Args:
        folders: Folders of training runs, evaluations and the other kinds of `KINDS`.
        output: Folder for the files and a manifest; made if it does not exist.
        language: Code of the language of headings and fixed text.
        title: Title in place of the language's own.
        formats: What to write.
        figures_only: Those of the folders whose pictures of patients are left out.

    Returns:
        The files.

    Raises:
        ConfigError: If the language is not known, or a package that a format needs is not installed.
        DataError: If a folder is of no kind or damaged.
        OutputError: If a file cannot be written.
    """
    words = read_language(language)
    if Format.PDF in formats:
        require_pdf()
    if Format.PPTX in formats:
        require_slides()
    sources = read_sources(folders, figures_only)
    output_folder(output)
    written = []
    with tempfile.TemporaryDirectory() as pictures:
        document = make_document(sources, words, Path(pictures), title=title)
        for chosen in dict.fromkeys(formats):
            path = output / chosen.file_name
            WRITERS[chosen](path, document, words)
            written.append(path)
    write_manifest(
        output,
        sources={source.name: source.kind for source in sources},
        language=language,
        outputs=[path.name for path in written],
    )
    return written


def _html(path: Path, document: Document, words: Language) -> None:
    write_report(path, title=document.title, lead=document.lead, sections=document.sections, language=words)


def _pdf(path: Path, document: Document, words: Language) -> None:
    write_pdf(
        path,
        report_text(title=document.title, lead=document.lead, sections=document.sections, language=words),
    )


def _pptx(path: Path, document: Document, words: Language) -> None:
    write_slides(path, document.title, document.lead, document.told, words)


WRITERS: Final[Mapping[Format, Callable[[Path, Document, Language], None]]] = {
    Format.HTML: _html,
    Format.PDF: _pdf,
    Format.PPTX: _pptx,
}
