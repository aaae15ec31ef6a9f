"""A report as PDF: the same document, laid out on pages."""

import logging
from pathlib import Path
from typing import Any

from PIL import ImageFile

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path


def require_pdf() -> Any:
    """The package that lays out pages.

    Importing it lets Pillow read truncated pictures in the whole process; that is undone here, since a
    truncated radiograph must be refused.

    Raises:
        ConfigError: If it, or the libraries of the system that it needs, are not there.
    """
    truncated = ImageFile.LOAD_TRUNCATED_IMAGES
    try:
        import weasyprint
    except (ImportError, OSError) as error:  # OSError: Pango is not there
        raise ConfigError(
            f"expected WeasyPrint and Pango for a PDF, found {error}; run pip install 'thorax[report]', "
            "install Pango (Debian and Ubuntu: libpangoft2-1.0-0), or leave the PDF out by --format"
        ) from error
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = truncated
    return weasyprint


def write_pdf(path: Path, html: str) -> None:
    """Write an HTML document as a tagged PDF; nothing but what is in the document is read.

    Args:
        path: PDF to write.
        html: Document as from `report_text`.

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
