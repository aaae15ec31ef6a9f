"""What an input is called by: its content, so that a copy under another name is the same study."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

SHORT_DIGITS: Final = 16
"""Digits of an identity that stand in folder names: 64 bits, so that chance never makes two alike."""


@dataclass(frozen=True, slots=True)
class Stamp:
    """What changes when a file is written.

    Attributes:
        size: Bytes.
        modified_ns: Time of the last change, nanoseconds since 1970.
    """

    size: int
    modified_ns: int


def stamp(path: Path) -> Stamp | None:
    """Size and time of a file, None if there is no such file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns)


def stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
    """Size and time of each of the files that are there."""
    return {path: found for path in files if (found := stamp(path)) is not None}


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def printable(text: str) -> str:
    """Text that any terminal and database takes: bytes of file names that are no UTF-8 become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def content_id(checksums: Iterable[str]) -> str:
    """SHA-256 of what is in the files, whatever they are called; copies among them count once.

    Args:
        checksums: SHA-256 of each file, in any order.
    """
    return hashlib.sha256("\n".join(sorted(set(checksums))).encode()).hexdigest()
