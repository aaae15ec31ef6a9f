"""One study from its files to its final folder: claim, work, rename, record; and recovery after a kill."""

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pipelines
from pipelines.core.errors import ConfigError, OutputError, expecting
from pipelines.core.files import file_sha256, read_json, write_json
from pipelines.watching.ledger import (
    REASON_NAME,
    RESULT_NAME,
    Folders,
    Ledger,
    Stamp,
    State,
    commit,
    content_id,
    copy_inputs,
    folder_name,
    printable,
    stamps,
)
from pipelines.watching.units import Unit
from pipelines.watching.worker import Ending, Job, Outcome, Stop, Worker, resident_mb

HEARTBEAT_NAME: Final = "heartbeat.json"

BEAT_S: Final = 2.0
"""Seconds between two writings while nothing else changes."""


class Heartbeat:
    """Says what is in hand.

    Args:
        path: JSON file to write.
        every_s: Least time between two writings, seconds.
        clock: Seconds that never go back.
    """

    def __init__(
        self, path: Path, *, every_s: float = BEAT_S, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._path = path
        self._every_s = every_s
        self._clock = clock
        self._written: float | None = None
        self._content: dict[str, Any] = {"pid": os.getpid(), "since": utc_now()}

    def beat(self, *, at_once: bool = False, **changes: Any) -> None:
        """Write what is known, if it is time.

        Args:
            at_once: Write it in any case.
            **changes: What is new, e.g. `in_hand` or `worker_mb`.

        Raises:
            OutputError: If it cannot be written.
        """
        self._content |= changes
        now = self._clock()
        if at_once or self._written is None or now - self._written >= self._every_s:
            self._written = now
            memory = {"own_mb": round(resident_mb(os.getpid()), 1)}
            write_json(self._path, self._content | memory | {"time": utc_now()})


def utc_now() -> str:
    """The time of now in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")


KILLED = "the watcher ended while it worked on it"


def recover(ledger: Ledger, folders: Folders, *, send: bool) -> None:
    """Finish in the ledger what is finished on disk, and give back what is not.

    A folder in `studies/` or `quarantine/` took its name in one step when all of it was written, so it is
    believed. What was in work is removed. A study in quarantine whose folder somebody has removed is
    forgotten, which is how it is tried again. A folder that the ledger does not know is adopted.

    Args:
        ledger: Of the run before.
        folders: Existing folders below the output.
        send: Whether DICOM segmentations are sent to a server.

    Raises:
        DataError: If the JSON file of a finished study is damaged.
        OutputError: If the ledger cannot be written.
    """
    for left in folders.work.iterdir():
        shutil.rmtree(left, ignore_errors=True)
    for row in (*ledger.in_state(State.WORKING), *ledger.in_state(State.WAITING)):
        done = folders.done / row.folder
        if done.is_dir():
            ledger.end(row.id, State.DONE, to_send=send and has_segmentation(done))
        elif (folders.quarantine / row.folder).is_dir():
            content = _read(folders.quarantine / row.folder / REASON_NAME)
            ledger.end(row.id, State.QUARANTINED, reason=str(content["reason"]))
        elif row.state == State.WORKING:
            ledger.wait(row.id, KILLED)
    for row in ledger.in_state(State.QUARANTINED):
        if not (folders.quarantine / row.folder).is_dir():
            ledger.forget(row.id)
    known = ledger.folders()
    for parent, name, state in (
        (folders.done, RESULT_NAME, State.DONE),
        (folders.quarantine, REASON_NAME, State.QUARANTINED),
    ):
        for folder in sorted(parent.iterdir()):
            if folder.name not in known and (folder / name).is_file():
                content = _read(folder / name)
                identity, kind, origin = (str(content[key]) for key in ("id", "kind", "origin"))
                ledger.adopt(identity, folder=folder.name, kind=kind, origin=origin, state=state)


def has_segmentation(folder: Path) -> bool:
    """Whether a study's folder holds DICOM segmentations."""
    return any(folder.glob("*_seg.dcm"))


def _read(path: Path) -> dict[str, object]:
    advice = "remove its folder to have the study done again"
    with expecting(f"what a finished study says of itself in {path}", advice=advice):
        content = read_json(path)
        if not {"id", "kind", "origin"} <= content.keys():
            raise ValueError("it has no id, kind or origin")
    found: dict[str, object] = content
    return found


@dataclass(frozen=True, slots=True)
class _Claim:
    """A study that is being worked on.

    Attributes:
        unit: Its files.
        found: Size and time of each file before it was read.
        checksums: SHA-256 of each file.
        identity: SHA-256 of the content.
        folder: Name of its folder.
        tries: How often it has been begun.
    """

    unit: Unit
    found: dict[Path, Stamp]
    checksums: dict[Path, str]
    identity: str
    folder: str
    tries: int

    @property
    def is_unchanged(self) -> bool:
        """Whether the files are still those that were read."""
        return stamps(self.unit.files) == self.found

    def record(self) -> dict[str, Any]:
        """Where the study came from and when it ended, for its JSON file."""
        return {
            "thorax": pipelines.__version__,
            "id": self.identity,
            "kind": str(self.unit.kind),
            "name": self.unit.name,
            "origin": self.unit.origin,
            "ended": utc_now(),
            "sources": [
                {"path": str(path), "bytes": self.found[path].size, "sha256": checksum}
                for path, checksum in self.checksums.items()
            ],
        }


@dataclass(frozen=True, slots=True)
class Studies:
    """Works on studies one after the other, each content once.

    Attributes:
        ledger: What has been begun and ended.
        folders: Existing folders below the output.
        worker: Does the work.
        heartbeat: Written with what is in hand.
        stop: Says when to end.
        tries: Tries after which a study is put into quarantine.
        grace_s: Time that the study in hand gets after the end is asked for, seconds.
        send: Whether DICOM segmentations are to be sent.
        report: Prints or logs a line on each study.
    """

    ledger: Ledger
    folders: Folders
    worker: Worker
    heartbeat: Heartbeat
    stop: Stop
    tries: int
    grace_s: float
    send: bool
    report: Callable[[str], None]

    def work_on(self, unit: Unit, arrived: Mapping[Path, Stamp]) -> bool:
        """Bring a study to its end, or leave it for another try.

        Args:
            unit: Its files.
            arrived: Size and time of new files when they were whole; the work on others may be long ago.

        Returns:
            False if its files cannot be read, and there is nothing to do but wait.

        Raises:
            ConfigError: If the work cannot be set up.
            OutputError: If something cannot be written.
        """
        found = stamps(unit.files)
        if any(found.get(path) != arrived.get(path, found.get(path)) for path in unit.files):
            return True  # written anew meanwhile: the next look will see it
        try:
            checksums = {path: file_sha256(path) for path in unit.files}
        except OSError as error:
            self.report(f"cannot read {unit.name} yet: {error.strerror}")
            return False
        if len(found) < len(unit.files) or stamps(unit.files) != found:
            return True  # still being written: the next look will see it
        identity = content_id(checksums.values())
        row = self.ledger.study(identity)
        if row is not None and row.state in (State.DONE, State.QUARANTINED):
            self.ledger.add_sources(found, identity, unit.dicom_study)
            self.report(f"{unit.name}: the same as {row.folder}")
            return True
        folder = row.folder if row is not None else folder_name(unit.name, identity)
        tries = self.ledger.claim(identity, folder=folder, kind=unit.kind, origin=unit.origin)
        claim = _Claim(unit, found, checksums, identity, folder, tries)
        if unit.problem:
            self._quarantine(claim, printable(unit.problem))
        elif tries > self.tries:
            self._quarantine(claim, row.reason if row is not None else KILLED)
        else:
            self._try(claim)
        return True

    def _try(self, claim: _Claim) -> None:
        started = time.monotonic()
        self.heartbeat.beat(at_once=True, in_hand=claim.folder, tries=claim.tries)
        try:
            work = self.folders.begin(claim.folder)
            outcome = self.worker.run(
                Job(claim.unit.kind, claim.unit.files, work),
                may_go_on=lambda: self.stop.leaves(self.grace_s),
                on_memory=lambda memory_mb: self.heartbeat.beat(worker_mb=round(memory_mb, 1)),
            )
            self.heartbeat.beat(in_hand=None)
            if outcome.ending is Ending.DONE and claim.is_unchanged:
                self._finish(claim, outcome, work, round(time.monotonic() - started, 3))
            else:
                self._fail(claim, outcome)
        except (ConfigError, OutputError):
            self.ledger.give_back(claim.identity)
            raise

    def _finish(self, claim: _Claim, outcome: Outcome, work: Path, seconds: float) -> None:
        final = self.folders.done / claim.folder
        replaces = self.ledger.earlier(claim.unit.origin, claim.identity, claim.unit.dicom_study)
        content = claim.record() | {"replaces": replaces, "seconds": seconds} | (outcome.content or {})
        commit(work, final, content)
        self.ledger.end(
            claim.identity,
            State.DONE,
            seconds=seconds,
            to_send=self.send and has_segmentation(final),
            sources=claim.found,
            dicom_study=claim.unit.dicom_study,
        )
        self.report(f"{claim.unit.name}: done in {seconds:.1f} s, {final}")

    def _fail(self, claim: _Claim, outcome: Outcome) -> None:
        if outcome.ending is Ending.STOPPED or not claim.is_unchanged:
            # Stopped, or another file by now: no fault of this content.
            self.ledger.give_back(claim.identity)
        elif outcome.ending is Ending.BAD_CONFIG:
            raise ConfigError(outcome.reason)
        elif outcome.ending is Ending.NO_OUTPUT:
            raise OutputError(outcome.reason)
        elif outcome.ending is Ending.BAD_INPUT or claim.tries >= self.tries:
            self._quarantine(claim, outcome.reason)
        else:
            self.ledger.wait(claim.identity, outcome.reason)
            self.report(f"{claim.unit.name}: {outcome.reason}; try {claim.tries} of {self.tries}")

    def _quarantine(self, claim: _Claim, reason: str) -> None:
        final = self.folders.quarantine / claim.folder
        work = self.folders.begin(claim.folder)
        copy_inputs(claim.unit.files, work)
        content = claim.record() | {"reason": reason, "tries": min(claim.tries, self.tries)}
        commit(work, final, content, name=REASON_NAME)
        self.ledger.end(
            claim.identity,
            State.QUARANTINED,
            reason=reason,
            sources=claim.found,
            dicom_study=claim.unit.dicom_study,
        )
        self.report(f"{claim.unit.name}: skipped, {reason}; see {final}")
