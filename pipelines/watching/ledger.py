"""State of the watcher: its folders, and the ledger of studies."""

import hashlib
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from stat import S_ISREG
from typing import Any, Final

from pipelines.core.errors import ConfigError, OutputError
from pipelines.core.files import file_sha256, output_folder, write_json

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
        done, quarantine = output / "studies", output / "quarantine"
        return cls(output, done, quarantine, private, private / "work", private / "fetched")

    def make(self) -> None:
        """Make them.

        Raises:
            OutputError: If one is a file, cannot be made, or cannot be written to.
        """
        for folder in (self.output, self.done, self.quarantine, self.private, self.work, self.fetched):
            output_folder(folder)

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
        paths = sorted(work.rglob("*"))
        files = [
            {"name": str(path.relative_to(work)), "bytes": path.stat().st_size, "sha256": file_sha256(path)}
            for path in paths
            if path.is_file()
        ]
        write_json(work / name, {**content, "files": files})
        for path in (work / name, *paths, work):
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
    """Size and time of a file, None if there is none or it is a pipe or a device, which may never end."""
    try:
        status = path.stat()
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns) if S_ISREG(status.st_mode) else None


def stamps(files: Iterable[Path]) -> dict[Path, Stamp]:
    """Size and time of each of the files that are there."""
    return {path: found for path in files if (found := stamp(path)) is not None}


def printable(text: str) -> str:
    """Text that any terminal and database takes: bytes of file names that are no UTF-8 become `?`."""
    return text.encode("utf-8", "replace").decode("utf-8")


def content_id(checksums: Iterable[str]) -> str:
    """SHA-256 of what is in the files, whatever they are called; copies among them count once.

    Args:
        checksums: SHA-256 of each file, in any order.
    """
    return hashlib.sha256("\n".join(sorted(set(checksums))).encode()).hexdigest()


class State(StrEnum):
    """How far a study has come."""

    WORKING = "working"
    WAITING = "waiting"
    DONE = "done"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as the ledger has it.

    Attributes:
        id: SHA-256 of its content.
        folder: Name of its folder in `studies/` or `quarantine/`.
        tries: How often work on it was begun and not given back.
        reason: Why the last try failed, `""` if none did.
        state: How far it has come, a value of `State`.
    """

    id: str
    folder: str
    tries: int
    reason: str
    state: str


LEDGER_NAME: Final = "ledger.sqlite"

BUSY_S: Final = 10.0
"""Seconds to wait while `thorax watch status` reads."""

TABLES: Final = """
CREATE TABLE IF NOT EXISTS studies (
    id TEXT PRIMARY KEY, folder TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, origin TEXT NOT NULL,
    state TEXT NOT NULL, tries INTEGER NOT NULL, reason TEXT NOT NULL DEFAULT '', seconds REAL,
    ended TEXT, to_send INTEGER NOT NULL DEFAULT 0
);
CREATE INDEX IF NOT EXISTS studies_by_state ON studies (state);
CREATE INDEX IF NOT EXISTS studies_to_send ON studies (to_send) WHERE to_send = 1;
CREATE INDEX IF NOT EXISTS studies_by_origin ON studies (origin);
CREATE TABLE IF NOT EXISTS sources (
    path BLOB PRIMARY KEY, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL,
    dicom_study TEXT, study TEXT, reason TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS sources_by_dicom_study ON sources (dicom_study) WHERE dicom_study IS NOT NULL;
CREATE INDEX IF NOT EXISTS sources_by_study ON sources (study);
CREATE TABLE IF NOT EXISTS fetched (series TEXT PRIMARY KEY, instances INTEGER NOT NULL);
"""


class Ledger:
    """The table of studies and the table of files, in one SQLite file.

    Args:
        path: File; made if it does not exist, unless it is only read.
        read_only: Change nothing.

    Raises:
        OutputError: If it cannot be made, read or written.
    """

    def __init__(self, path: Path, *, read_only: bool = False) -> None:
        self.path = path
        with self._database_errors():
            if read_only:
                self._base = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", timeout=BUSY_S, uri=True)
                return
            self._base = sqlite3.connect(path, timeout=BUSY_S, isolation_level="IMMEDIATE")
            self._base.execute("PRAGMA synchronous = FULL")
            self._base.executescript(TABLES)

    def close(self) -> None:
        """Let go of the file."""
        self._base.close()

    def study(self, identity: str) -> StudyRow | None:
        """The study with this content, None if it was never begun."""
        found = self._rows("WHERE id = ?", identity)
        return found[0] if found else None

    def in_state(self, state: State) -> list[StudyRow]:
        """Studies that have come this far, the oldest first."""
        return self._rows("WHERE state = ? ORDER BY rowid", state)

    def folders(self) -> set[str]:
        """Names of the folders of all studies."""
        return {name for (name,) in self._run("SELECT folder FROM studies")}

    def earlier(self, origin: str, identity: str, dicom_study: str | None = None) -> list[str]:
        """Folders of the finished studies of the same origin with other content, the oldest first.

        Args:
            origin: Path, or UID of a DICOM series, which an anonymiser may give to several studies.
            identity: SHA-256 of the content.
            dicom_study: UID of the DICOM study, if it is one.
        """
        rows = self._run(
            "SELECT folder FROM studies WHERE origin = ? AND id != ? AND state = ? AND NOT EXISTS (SELECT 1 "
            "FROM sources WHERE sources.study = studies.id AND sources.dicom_study IS NOT ?) ORDER BY rowid",
            *(origin, identity, State.DONE, dicom_study),
        )
        return [folder for (folder,) in rows]

    def claim(self, identity: str, *, folder: str, kind: str, origin: str) -> int:
        """Begin a study, or begin it again; how often it has been begun now."""
        ((tries,),) = self._run(
            "INSERT INTO studies (id, folder, kind, origin, state, tries) VALUES (?, ?, ?, ?, ?, 1) "
            "ON CONFLICT (id) DO UPDATE SET state = excluded.state, tries = tries + 1 RETURNING tries",
            *(identity, folder, kind, origin, State.WORKING),
        )
        return int(tries)

    def give_back(self, identity: str) -> None:
        """The work was stopped through no fault of the study: the try does not count."""
        self._run("UPDATE studies SET state = ?, tries = tries - 1 WHERE id = ?", State.WAITING, identity)

    def wait(self, identity: str, reason: str) -> None:
        """The try failed, and another will be made."""
        self._run("UPDATE studies SET state = ?, reason = ? WHERE id = ?", State.WAITING, reason, identity)

    def end(
        self,
        identity: str,
        state: State,
        *,
        reason: str = "",
        seconds: float | None = None,
        to_send: bool = False,
        sources: Mapping[Path, Stamp] | None = None,
        dicom_study: str | None = None,
    ) -> None:
        """The study's folder has its final name.

        Args:
            identity: SHA-256 of its content.
            state: `DONE` or `QUARANTINED`.
            reason: Why it was skipped.
            seconds: Time that it took, s.
            to_send: Whether its DICOM segmentations are still to be sent.
            sources: Its files as they were read.
            dicom_study: UID of the DICOM study, if it is one.
        """
        with self._transaction():
            self._base.execute(
                "UPDATE studies SET state = ?, reason = ?, seconds = ?, to_send = ?, ended = datetime() "
                "WHERE id = ?",
                (state, reason, seconds, int(to_send), identity),
            )
            self._insert_sources(sources or {}, dicom_study, identity)

    def adopt(self, identity: str, *, folder: str, kind: str, origin: str, state: State) -> None:
        """Enter a study whose folder is there and that the ledger has lost."""
        self._run(
            "INSERT OR IGNORE INTO studies (id, folder, kind, origin, state, tries, ended) "
            "VALUES (?, ?, ?, ?, ?, 1, datetime())",
            *(identity, folder, kind, origin, state),
        )

    def forget(self, identity: str) -> None:
        """Strike a study out, so that its files are looked at anew."""
        with self._transaction():
            self._base.execute("DELETE FROM sources WHERE study = ?", (identity,))
            self._base.execute("DELETE FROM studies WHERE id = ?", (identity,))

    def add_sources(self, files: Mapping[Path, Stamp], identity: str, dicom_study: str | None = None) -> None:
        """Files that belong to a finished study, for instance copies of it."""
        with self._transaction():
            self._insert_sources(files, dicom_study, identity)

    def ignore_files(
        self, files: Mapping[Path, Stamp], reason: str = "", dicom_study: str | None = None
    ) -> None:
        """Files that are no input; with a reason they are shown by `thorax watch status`."""
        with self._transaction():
            self._insert_sources(files, dicom_study, reason=reason)

    def knows(self, path: Path, found: Stamp) -> bool:
        """Whether the file, as it is now, has been dealt with."""
        rows = self._run("SELECT size, modified_ns FROM sources WHERE path = ?", os.fsencode(path))
        return rows == [(found.size, found.modified_ns)]

    def retry_ignored(self, reason: str) -> None:
        """Forget the files that were passed over for a reason that begins so."""
        self._run("DELETE FROM sources WHERE substr(reason, 1, ?) = ?", len(reason), reason)

    def files_of(self, dicom_study: str) -> list[Path]:
        """Files of a DICOM study that have been dealt with."""
        rows = self._run("SELECT path FROM sources WHERE dicom_study = ?", dicom_study)
        return [Path(os.fsdecode(path)) for (path,) in rows]

    def to_send(self) -> list[StudyRow]:
        """Finished studies whose DICOM segmentations are still to be sent, the oldest first."""
        return self._rows("WHERE to_send = 1 ORDER BY rowid")

    def sent(self, identity: str) -> None:
        """The study's DICOM segmentations have been taken by the server."""
        self._run("UPDATE studies SET to_send = 0 WHERE id = ?", identity)

    def fetched_instances(self, series: str) -> int:
        """How many instances the series had when it was fetched, 0 if it was not."""
        rows = self._run("SELECT instances FROM fetched WHERE series = ?", series)
        return int(rows[0][0]) if rows else 0

    def fetched(self, counts: Mapping[str, int]) -> None:
        """Series that have been fetched, with their number of instances."""
        with self._transaction():
            self._base.executemany("INSERT OR REPLACE INTO fetched VALUES (?, ?)", counts.items())

    def counts(self) -> dict[str, int]:
        """Number of studies in each state, of files passed over with a reason, and of studies to send."""
        counts = {str(state): 0 for state in State}
        counts.update(self._run("SELECT state, COUNT(*) FROM studies GROUP BY state"))
        ((passed_over, to_send),) = self._run(
            "SELECT (SELECT COUNT(*) FROM sources WHERE reason != ''), "
            "(SELECT COUNT(*) FROM studies WHERE to_send = 1)"
        )
        return counts | {"passed_over": passed_over, "to_send": to_send}

    def recent(self, state: State, number: int) -> list[dict[str, Any]]:
        """The last studies that came this far: `folder`, `ended` (UTC), `seconds`, `reason`, `tries`."""
        columns = ("folder", "ended", "seconds", "reason", "tries")
        rows = self._run(
            f"SELECT {', '.join(columns)} FROM studies WHERE state = ? "
            "ORDER BY ended DESC, rowid DESC LIMIT ?",
            *(state, number),
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def _insert_sources(
        self,
        files: Mapping[Path, Stamp],
        dicom_study: str | None,
        study: str | None = None,
        reason: str = "",
    ) -> None:
        self._base.executemany(
            "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?)",
            [
                (os.fsencode(path), found.size, found.modified_ns, dicom_study, study, reason)
                for path, found in files.items()
            ],
        )

    def _rows(self, condition: str, *values: object) -> list[StudyRow]:
        rows = self._run(f"SELECT id, folder, tries, reason, state FROM studies {condition}", *values)
        return [StudyRow(*row) for row in rows]

    def _run(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        with self._transaction():
            return self._base.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._database_errors(), self._base:  # commits, or rolls back what an error cut short
            yield

    @contextmanager
    def _database_errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise OutputError(
                f"cannot keep the ledger {self.path}: {error}; free some space and check its permissions. "
                "If it is damaged, remove it: the folders in 'studies' tell what is done"
            ) from error
