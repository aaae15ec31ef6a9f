"""Files that are written whole or not at all, locks, and the manifest of a results folder."""

import csv
import hashlib
import io
import json
import math
import os
import platform
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pipelines
from pipelines.core.errors import ConfigError, OutputError


def output_folder(path: Path) -> Path:
    """Folder that exists and can be written to.

    Args:
        path: Folder to make, with its parents, if it does not exist.

    Raises:
        OutputError: If it is a file, cannot be made, or cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise OutputError(
            f"expected an output folder that can be written, found {path}: {error.strerror}; "
            "choose another folder or change its permissions"
        ) from error
    return path


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Temporary sibling of `path` that takes its name when the block ends well.

    The sibling keeps all suffixes (`.nii.gz`), since writers choose the format
    by them. It may be written as a file or made as a folder; what was at `path`
    before is replaced, and stays as it was if the block fails.

    Args:
        path: Final path; its folder is made if it does not exist.

    Raises:
        OutputError: If the folder is read-only, the disk is full, or any other `OSError`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".part-{os.getpid()}-{path.name}")
        try:
            yield temporary
            if temporary.is_dir() and path.is_dir():
                shutil.rmtree(path)
            temporary.replace(path)
        finally:
            if temporary.is_dir():
                shutil.rmtree(temporary, ignore_errors=True)
            else:
                temporary.unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from error


@contextmanager
def exclusive_lock(lock: Path, job: str) -> Iterator[None]:
    """Hold a lock for the time of the block; it goes with the process, however that ends.

    Args:
        lock: File that stands for the lock; made if it does not exist.
        job: What must not run twice at a time, for the message.

    Raises:
        ConfigError: If another process holds the lock.
    """
    import fcntl  # absent on Windows, where nothing else here needs it

    with lock.open("w", encoding="utf-8") as stream:
        for left in reversed(range(3)):  # `is_locked` holds it for a moment
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not left:
                    raise ConfigError(
                        f"expected no other {job}, found one that holds {lock}; wait for its end or stop it"
                    ) from error
                time.sleep(0.05)
        yield


def is_locked(lock: Path) -> bool:
    """Whether a process holds the lock of `exclusive_lock`; no if there is no such file."""
    import fcntl

    try:
        with lock.open(encoding="utf-8") as stream:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def plain(text: str) -> str:
    """Text that fits into UTF-8: what does not, such as bytes of old file names, becomes escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def write_text(path: Path, text: str) -> None:
    """Write a UTF-8 text file, whole or not at all.

    Raises:
        OutputError: If it cannot be written.
    """
    with atomic_path(path) as temporary:
        temporary.write_text(plain(text), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Content of a JSON file."""
    return json.loads(path.read_text(encoding="utf-8"))


def read_csv(path: Path) -> list[dict[str, str]]:
    """Rows of a table with a header line, by column."""
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def write_csv(path: Path, columns: Iterable[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a header line, whole or not at all; None and missing values are empty.

    Args:
        path: File to write.
        columns: Names of the columns in order, which the rows' keys must be among.
        rows: One mapping a line.

    Raises:
        OutputError: If it cannot be written.
    """
    table = io.StringIO()
    writer = csv.DictWriter(table, list(columns), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())


def write_json(path: Path, content: Any) -> None:
    """Write JSON with two-space indent, whole or not at all; NaN and infinity become null.

    Raises:
        OutputError: If it cannot be written.
    """
    write_text(path, json.dumps(_finite(content), indent=2, default=str) + "\n")


def _finite(content: Any) -> Any:
    if isinstance(content, dict):
        return {str(key): _finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_finite(value) for value in content]
    if hasattr(content, "tolist"):
        return _finite(content.tolist())
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


def file_sha256(path: Path) -> str:
    """SHA-256 of a file in hexadecimal digits.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


MANIFEST_NAME = "manifest.json"
PACKAGES = ("torch", "monai", "pytorch-ignite", "nibabel", "numpy")


def write_manifest(folder: Path, **details: Any) -> Path:
    """Write `manifest.json` and return its path.

    The folder's name goes into it: pages keep it when the folder is renamed.

    Args:
        folder: Folder of the run.
        **details: What the run adds, e.g. `seed`, `split_hash`, `fingerprint`, `device`, `outputs`.

    Raises:
        OutputError: If it cannot be written.
    """
    import torch  # here, for commands that only look for a manifest

    path = folder / MANIFEST_NAME
    write_json(
        path,
        {
            "name": folder.resolve().name,
            "thorax": pipelines.__version__,
            "python": platform.python_version(),
            "packages": package_versions(),
            "processor": platform.machine(),
            "threads": torch.get_num_threads(),
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            **details,
        },
    )
    return path


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str | None]:
    """Versions of packages, by default those that values depend on most; None for one that is not there."""
    return {name: _version(name) for name in names}


def _version(name: str) -> str | None:
    from importlib.metadata import PackageNotFoundError, version  # here, for a quick `thorax --help`

    try:
        return version(name)
    except PackageNotFoundError:
        return None
