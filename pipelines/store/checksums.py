"""SHA-256 of every file of a folder, and what differs from them."""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Final, Literal

from pipelines.core.errors import DataError
from pipelines.core.files import file_sha256

CHECKSUMS_NAME: Final = "checksums.json"
"""File that lists all others of a folder; it is written last."""

FORMAT: Final = 1

Kind = Literal["bundle", "data"]


@dataclass(frozen=True, slots=True)
class FileSum:
    """What a file must be.

    Attributes:
        sha256: Of its bytes, 64 hex digits.
        size: In bytes.
    """

    sha256: str
    size: int


@dataclass(frozen=True, slots=True)
class Checksums:
    """What a folder must hold.

    Attributes:
        kind: What the folder is.
        files: Each file, by its path below the folder with `/` between the parts.
        licence: Terms that must be accepted before the files are taken, empty if there are none.
    """

    kind: Kind
    files: Mapping[str, FileSum]
    licence: Mapping[str, str] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over names and checksums of all files and the licence, 64 hex digits."""
        content: list[Any] = [self.kind, sorted(self.licence.items())]
        content += [(name, self.files[name].sha256) for name in sorted(self.files)]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def to_json(self) -> str:
        """Text of `checksums.json`."""
        files = {name: asdict(self.files[name]) for name in sorted(self.files)}
        content = {"format": FORMAT, "kind": self.kind, "fingerprint": self.fingerprint}
        return json.dumps(content | {"licence": dict(self.licence), "files": files}, indent=2) + "\n"


@dataclass(frozen=True, slots=True)
class Difference:
    """How a folder differs from its checksums; each holds names of files, in order.

    Attributes:
        missing: Listed and not there.
        changed: There with other bytes.
        additional: There and not listed.
    """

    missing: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    additional: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.missing or self.changed or self.additional)

    def lines(self) -> list[str]:
        """A line for each file, such as `missing configs/train.yaml`."""
        groups = (("missing", self.missing), ("changed", self.changed), ("additional", self.additional))
        return [f"{word} {name}" for word, names in groups for name in names]


def parse_checksums(text: str, source: str, *, kind: Kind | None = None) -> Checksums:
    """Content of a `checksums.json`.

    Args:
        text: Its text.
        source: Where it comes from, for messages.
        kind: What it must be about.

    Raises:
        DataError: If it is damaged, of another kind, or names a file outside of its folder.
    """
    try:
        content: dict[str, Any] = json.loads(text)
        if content["format"] != FORMAT or content["kind"] not in ("bundle", "data"):
            raise ValueError(f"format {content['format']!r} of {content['kind']!r}")
        files = {
            str(name): FileSum(str(entry["sha256"]), int(entry["size"]))
            for name, entry in content["files"].items()
        }
        licence = {str(key): str(value) for key, value in content["licence"].items()}
        found = Checksums(content["kind"], files, licence)
        if content["fingerprint"] != found.fingerprint:
            raise ValueError("a fingerprint that is not that of its lines")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"expected checksums in {source}, found {type(error).__name__}: {error}; push it again"
        ) from error
    outside = [name for name in found.files if not is_inside(name)]
    if outside:
        raise DataError(f"expected files inside of the folder, found {', '.join(outside[:5])} in {source}")
    if kind is not None and found.kind != kind:
        raise DataError(f"expected a {kind} in {source}, found a {found.kind}")
    return found


def is_inside(name: str) -> bool:
    """Whether a name is a plain relative path with `/`, which cannot leave the folder it is put into."""
    parts = PurePosixPath(name).parts
    plain = re.fullmatch(r"[^\\:\x00-\x1f]+", name) is not None and "/".join(parts) == name
    return plain and not name.startswith("/") and ".." not in parts and name != CHECKSUMS_NAME


def sum_of(path: Path) -> FileSum:
    """Checksum and size of a file, read in pieces.

    Raises:
        DataError: If it cannot be read.
    """
    try:
        return FileSum(file_sha256(path), path.stat().st_size)
    except OSError as error:
        raise DataError(f"expected a file that can be read, found {path}: {error.strerror}") from error


def files_below(folder: Path, *, without: Sequence[str] = ()) -> dict[str, Path]:
    """The files of a folder by their names in `Checksums`, in order; `checksums.json` itself is not one.

    Args:
        folder: Existing folder.
        without: Folders below it, by name at any depth, that are left out.

    Raises:
        DataError: If there is no such folder, or a file is a link, which may lead anywhere.
    """
    if not folder.is_dir():
        raise DataError(f"expected a folder, found none at {folder}")
    found = {
        path.relative_to(folder).as_posix(): path
        for path in sorted(folder.rglob("*"))
        if not set(without) & set(path.relative_to(folder).parts)
    }
    links = [name for name, path in found.items() if path.is_symlink()]
    if links:
        raise DataError(f"expected plain files in {folder}, found links: {', '.join(links[:5])}")
    return {name: path for name, path in found.items() if path.is_file() and name != CHECKSUMS_NAME}


def difference(expected: Mapping[str, FileSum], found: Mapping[str, FileSum]) -> Difference:
    """How checksums that were found differ from the expected ones."""
    return Difference(
        missing=tuple(sorted(expected.keys() - found.keys())),
        changed=tuple(name for name in sorted(expected) if name in found and expected[name] != found[name]),
        additional=tuple(sorted(found.keys() - expected.keys())),
    )
