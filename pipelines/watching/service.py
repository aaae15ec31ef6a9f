"""The loop of `thorax watch`, and its status for people and for whatever restarts it."""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import exclusive_lock, is_locked, read_json
from pipelines.watching.ledger import LEDGER_NAME, Folders, Ledger, State, check_apart
from pipelines.watching.studies import HEARTBEAT_NAME, Heartbeat, Studies, recover
from pipelines.watching.units import UNWANTED_SERIES, Arrivals, Units, Waits
from pipelines.watching.worker import Limits, ProcessorFactory, Worker, asked_by_signals

if TYPE_CHECKING:
    from pipelines.watching.dicomweb import DicomWeb

LOCK_NAME: Final = "lock"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchSettings:
    """How a folder is watched.

    Attributes:
        waits: How long nothing may have changed before a study is taken.
        limits: What the worker may use.
        poll_s: Time between two looks, seconds.
        tries: Tries after which a study is put into quarantine.
        grace_s: Time that the study in hand gets after SIGTERM, seconds.
        series: Only DICOM series of hearts whose description this is found in, None for all.
    """

    waits: Waits = field(default_factory=lambda: Waits(5.0, 60.0))
    limits: Limits = field(default_factory=Limits)
    poll_s: float = 5.0
    tries: int = 3
    grace_s: float = 20.0
    series: re.Pattern[str] | None = None


def watch(
    incoming: Path,
    output: Path,
    factory: ProcessorFactory,
    settings: WatchSettings | None = None,
    *,
    once: bool = False,
    exchange: "DicomWeb | None" = None,
    report: Callable[[str], None] = logger.info,
) -> None:
    """Work on everything that arrives in a folder, each study once, until SIGTERM or Ctrl+C.

    Inputs are only read. A finished study is a folder `studies/NAME-ID` with its `result.json`, which takes
    that name in one step when all of it is written; one that fails is `quarantine/NAME-ID` with its
    `reason.json` and a copy of the input. ID is the beginning of the SHA-256 of the content.

    Args:
        incoming: Existing folder.
        output: Folder for the results, made if it does not exist; one watcher at a time.
        factory: Makes what does the work.
        settings: How it is watched.
        once: End when nothing is left to do and nothing is still arriving.
        exchange: Server that studies come from or segmentations go to.
        report: Prints or logs a line on each study.

    Raises:
        ConfigError: If the folders do not fit, another watcher is running, or the work cannot be set up.
        DataError: If what a finished study says of itself is damaged.
        OutputError: If results cannot be written; nothing is lost, the next start goes on.
    """
    settings = settings or WatchSettings()
    incoming, output = incoming.resolve(), output.resolve()
    check_apart(incoming, output)
    folders = Folders.below(output)
    folders.make()
    with (
        exclusive_lock(folders.private / LOCK_NAME, f"'thorax watch' on {output}"),
        asked_by_signals() as stop,
    ):
        ledger = Ledger(folders.private / LEDGER_NAME)
        worker = Worker(factory, settings.limits)
        heartbeat = Heartbeat(folders.private / HEARTBEAT_NAME)
        send = exchange is not None and exchange.sends
        try:
            recover(ledger, folders, send=send)
            ledger.retry_ignored(UNWANTED_SERIES)  # the next start may want another
            arrivals = Arrivals([incoming, folders.fetched], ledger, leave_out=output)
            units = Units(ledger, settings.waits, series=settings.series, whole=folders.fetched)
            studies = Studies(
                ledger, folders, worker, heartbeat, stop, settings.tries, settings.grace_s, send, report
            )
            while not stop.is_asked():
                left = exchange.fetch(ledger, folders, stop) if exchange is not None else 0
                begun = 0
                found = arrivals.look()
                arrived = {one.path: one.stamp for one in found}
                for unit in units.ready(found):
                    begun += studies.work_on(unit, arrived)
                    if stop.is_asked():
                        break
                if exchange is not None:
                    exchange.send(ledger, folders, stop)
                problem = exchange.problem if exchange is not None else ""
                heartbeat.beat(at_once=begun > 0, arriving=units.waiting, problem=problem)
                if once and not (begun or units.waiting or left):
                    if problem:
                        raise ConfigError(f"expected a DICOMweb server that answers, found: {problem}")
                    break
                if not begun:
                    stop.sleep(settings.poll_s)
            heartbeat.beat(at_once=True, ended=True)
        finally:
            worker.close()
            ledger.close()


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
        try:
            now = read_json(folders.private / HEARTBEAT_NAME)
        except (FileNotFoundError, json.JSONDecodeError):
            now = {}
        beat = datetime.fromisoformat(now["time"]) if "time" in now else None
        return Status(
            is_running=is_locked(folders.private / LOCK_NAME),
            beat_age_s=None if beat is None else (datetime.now(UTC) - beat).total_seconds(),
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
