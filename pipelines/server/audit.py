"""The audit log of a server: who did what, when, and with what outcome."""

import hashlib
import json
import logging
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Final

from pipelines.core.files import output_folder

AUDIT_NAME: Final = "audit.log"

MOST_BYTES: Final = 10_000_000
"""Length of a file of the log before it gets a number and another one begins."""

KEPT_FILES: Final = 20
"""Numbered files that are kept, the latest ones."""

DEEDS: Final = {
    ("POST", "/auth/token"): "log in",
    ("POST", "/auth/logout"): "log out",
    ("GET", "/datastore/image"): "download image",
    ("GET", "/datastore/label"): "download label",
    ("GET", "/viewer/data/cine"): "download cine",
    ("GET", "/viewer/data/probability"): "download probability",
    ("POST", "/infer/{model}"): "segment",
    ("PUT", "/datastore/"): "add image",
    ("PUT", "/datastore/image"): "add image",
    ("PUT", "/datastore/label"): "save label",
    ("PUT", "/session/"): "begin session",
    ("POST", "/train/"): "begin training",
    ("POST", "/train/{model}"): "begin training",
    ("DELETE", "/train/"): "stop training",
    ("POST", "/scoring/{method}"): "begin scoring",
    ("DELETE", "/scoring/"): "stop scoring",
}
"""What is recorded, by method and path of the route; for want of rights refusals by all routes are."""


class AuditLog:
    """Lines of JSON in a file that is rotated; none holds a name of a patient unless that is asked for.

    Images are told apart by the first digits of the SHA-256 of their ids.

    Args:
        path: File to write to; its folder is made if it does not exist.
        names: Whether ids of images, which often are or hold patients' names, are written out.

    Raises:
        OutputError: If it cannot be written.
    """

    def __init__(self, path: Path, *, names: bool = False) -> None:
        self._names = names
        self._handler = RotatingFileHandler(
            output_folder(path.parent) / path.name,
            maxBytes=MOST_BYTES,
            backupCount=KEPT_FILES,
            encoding="utf-8",
            delay=True,
        )
        self._handler.setFormatter(logging.Formatter("%(message)s"))

    def record(
        self, deed: str, outcome: str | int, *, who: str = "", address: str = "", image: str = ""
    ) -> None:
        """Write a line.

        Args:
            deed: What was done or tried.
            outcome: What came of it: a status of HTTP, or words.
            who: Name of the user, `""` if nobody was logged in.
            address: Where the request came from.
            image: Id of the image that it is about.
        """
        entry = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "who": who,
            "address": address,
            "what": deed,
            "outcome": outcome,
        }
        if image:
            entry["image"] = image if self._names else hashlib.sha256(image.encode()).hexdigest()[:16]
        text = json.dumps(entry, ensure_ascii=True)
        self._handler.handle(logging.LogRecord("audit", logging.INFO, "", 0, text, None, None))
