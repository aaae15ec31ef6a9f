"""What a watcher has done and is doing, for people and for whatever restarts it."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import is_locked
from pipelines.watching.folders import Folders
from pipelines.watching.heartbeat import HEARTBEAT_NAME
from pipelines.watching.ledger import LEDGER_NAME, Ledger
from pipelines.watching.service import LOCK_NAME
from pipelines.watching.study_row import State

RECENT: Final = 20
"""Finished studies whose mean time is told, and failed ones that are listed."""

OLDEST_BEAT_S: Final = 120.0
"""Age of the last sign of life from which a watcher counts as hung, seconds."""


@dataclass(frozen=True, slots=True)
class Status:
    """State of a watched folder.

    Attributes:
        is_running: Whether a watcher holds the lock.
        beat_age_s: Seconds since its last sign of life, None if there never was one.
        counts: Studies `working`, `waiting` for another try, `done` and `quarantined`, files `passed_over`,
            and studies whose DICOM segmentations are still `to_send`.
        now: What the watcher last said of itself: `in_hand`, `tries`, `arriving` files, `worker_mb`,
            `own_mb` (MB, 1e6 bytes), `problem` with the DICOMweb server.
        mean_seconds: Mean time of the last finished studies, s; None without any.
        waiting: Studies that failed and will be tried again: `folder`, `tries`, `reason`.
        quarantined: The last studies in quarantine: the same, and `ended`.
    """

    is_running: bool
    beat_age_s: float | None
    counts: dict[str, int]
    now: dict[str, Any]
    mean_seconds: float | None
    waiting: list[dict[str, Any]]
    quarantined: list[dict[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def read_status(output: Path) -> Status:
    """State of the folder that `thorax watch` writes to; changes nothing.

    Raises:
        DataError: If no watcher has ever worked on it.
        OutputError: If its ledger cannot be read.
    """
    folders = Folders.below(output)
    path = folders.private / LEDGER_NAME
    if not path.is_file():
        raise DataError(f"expected a folder that 'thorax watch' writes to, found none at {output}")
    ledger = Ledger(path, read_only=True)
    try:
        seconds = [row["seconds"] for row in ledger.recent(State.DONE, RECENT) if row["seconds"] is not None]
        now = _read_beat(folders.private / HEARTBEAT_NAME)
        return Status(
            is_running=is_locked(folders.private / LOCK_NAME),
            beat_age_s=_age_s(now.get("time")),
            counts=ledger.counts(),
            now=now,
            mean_seconds=sum(seconds) / len(seconds) if seconds else None,
            waiting=ledger.recent(State.WAITING, RECENT),
            quarantined=ledger.recent(State.QUARANTINED, RECENT),
        )
    finally:
        ledger.close()


def check_alive(status: Status, output: Path) -> None:
    """Tell a watcher that works from one that does not.

    Raises:
        ConfigError: If none is running, or it has given no sign of life for `OLDEST_BEAT_S`.
    """
    if not status.is_running:
        raise ConfigError(f"expected a running 'thorax watch' on {output}, found none; start it")
    if status.beat_age_s is None or status.beat_age_s > OLDEST_BEAT_S:
        raise ConfigError(
            f"expected a sign of life within {OLDEST_BEAT_S:.0f} s from 'thorax watch' on {output}, "
            f"found the last one {status.beat_age_s or 0:.0f} s ago; restart it"
        )


def _read_beat(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return {}
    return found


def _age_s(time: str | None) -> float | None:
    return None if time is None else (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds()
