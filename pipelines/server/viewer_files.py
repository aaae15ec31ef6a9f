"""The files of the browser page, read once at the start; no request is ever made into a path."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.core.install import shipped

VIEWER_FOLDER: Final = shipped("apps", "viewer")

MEDIA_TYPES: Final = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
"""Kinds of files that are served; others in the folder are not."""

HEADERS: Final = {
    # NiiVue carries its font and its light as data: URLs; pictures of radiographs are sent as such too.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",
}
"""Sent with every file: the page may load from this server only, run no text as code, and be framed by none.

References:
    Content Security Policy Level 3, https://www.w3.org/TR/CSP3/.
"""


@dataclass(frozen=True, slots=True)
class ViewerFile:
    """One file of the page.

    Attributes:
        content: Its bytes.
        media_type: What it is, for the browser.
        etag: Changes with its content.
    """

    content: bytes
    media_type: str
    etag: str


def viewer_files(folder: Path = VIEWER_FOLDER) -> dict[str, ViewerFile]:
    """Files of the page by their path in its folder, `""` for the first page.

    Args:
        folder: Folder of the page, which must exist.
    """
    found: dict[str, ViewerFile] = {}
    for path in sorted(folder.rglob("*")):
        if path.suffix in MEDIA_TYPES and path.is_file():
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.relative_to(folder).as_posix()] = ViewerFile(content, MEDIA_TYPES[path.suffix], etag)
    return {"": found["index.html"]} | found
