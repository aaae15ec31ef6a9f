"""Where results appear: a folder is written apart and renamed when whole, so what is there is complete."""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError, OutputError
from pipelines.core.files import output_folder, write_json
from pipelines.watching.ledger import SHORT_DIGITS, file_sha256

RESULT_NAME: Final = "result.json"
REASON_NAME: Final = "reason.json"
INPUT_NAME: Final = "input"
"""Folder with copies of the inputs of a study in quarantine."""

LONGEST_NAME: Final = 60
"""Characters of a study's name that its folder takes over."""


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders below the output.

    Attributes:
        output: Root.
        done: One folder for each finished study.
        quarantine: One folder for each study that failed.
        private: Ledger, lock and heartbeat.
        work: What is being written.
        fetched: What came over DICOMweb and is not done yet.
    """

    output: Path
    done: Path
    quarantine: Path
    private: Path
    work: Path
    fetched: Path

    @classmethod
    def below(cls, output: Path) -> "Folders":
        """Their paths; nothing is made."""
        private = output / ".watch"
        return cls(
            output,
            output / "studies",
            output / "quarantine",
            private,
            private / "work",
            private / "fetched",
        )

    def make(self) -> None:
        """Make them.

        Raises:
            OutputError: If one is a file, cannot be made, or cannot be written to.
        """
        for folder in (self.output, self.done, self.quarantine, self.private, self.work, self.fetched):
            output_folder(folder)

    def clean(self) -> None:
        """Remove what an earlier run left half-written."""
        for left in self.work.iterdir():
            shutil.rmtree(left, ignore_errors=True)

    def begin(self, name: str) -> Path:
        """An empty folder to write into.

        Raises:
            OutputError: If it cannot be made.
        """
        folder = self.work / f"{os.getpid()}-{name}"
        shutil.rmtree(folder, ignore_errors=True)
        return output_folder(folder)


def folder_name(name: str, identity: str) -> str:
    """Name of a study's folder: readable, and unlike that of any other content."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "_", name)[:LONGEST_NAME].strip("._") or "study"
    return f"{safe}-{identity[:SHORT_DIGITS]}"


def check_apart(incoming: Path, output: Path) -> None:
    """Refuse folders that would make results into inputs.

    Raises:
        ConfigError: If the input is no folder, or is the output or in its results.
    """
    if not incoming.is_dir():
        raise ConfigError(f"expected a folder to watch, found none at {incoming}; make it first")
    inside, folders = incoming.resolve(), Folders.below(output.resolve())
    if inside == folders.output or any(
        inside.is_relative_to(folder) for folder in (folders.done, folders.quarantine, folders.private)
    ):
        raise ConfigError(f"expected a folder apart from the results, found {incoming}; choose another")


def commit(work: Path, final: Path, content: Mapping[str, Any], *, name: str = RESULT_NAME) -> None:
    """Add the JSON file with a checksum of every file, make all durable, and give the folder its name.

    Args:
        work: Folder with everything of the study but its JSON file.
        final: Path that does not exist.
        content: For the JSON file; `files` is added.
        name: Of the JSON file.

    Raises:
        OutputError: If it cannot be written or renamed.
    """
    try:
        files = [
            {"name": str(path.relative_to(work)), "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in _files(work)
        ]
        write_json(work / name, {**content, "files": files})
        for path in (*_files(work), *_folders(work), work):
            sync(path)
        work.rename(final)
        sync(final.parent)
    except OSError as error:
        raise OutputError(
            f"cannot write {final}: {error.strerror or error}; free some space or choose another folder"
        ) from error


def sync(path: Path) -> None:
    """Wait until a file or the names in a folder are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def copy_inputs(files: tuple[Path, ...], work: Path) -> None:
    """Copies of the inputs that are there, into `input`; numbered where names are alike.

    Raises:
        OutputError: If they cannot be written.
    """
    folder = output_folder(work / INPUT_NAME)
    for number, path in enumerate(files):
        target = folder / path.name
        if target.exists():
            target = folder / f"{number:04}_{path.name}"
        try:
            shutil.copyfile(path, target)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise OutputError(
                f"cannot copy {path} to {target}: {error.strerror or error}; free some space"
            ) from error


def _files(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_file())


def _folders(folder: Path) -> Iterator[Path]:
    yield from (path for path in sorted(folder.rglob("*")) if path.is_dir())
