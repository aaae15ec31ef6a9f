"""The loop of `thorax watch`: look, work on what is whole, once each, until asked to stop."""

import logging
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from pipelines.core.errors import ConfigError
from pipelines.core.files import only_one
from pipelines.watching.arrivals import Arrivals
from pipelines.watching.folders import Folders, check_apart
from pipelines.watching.heartbeat import HEARTBEAT_NAME, Heartbeat
from pipelines.watching.ledger import LEDGER_NAME, Ledger
from pipelines.watching.recovery import recover
from pipelines.watching.stop import Stop, asked_by_signals
from pipelines.watching.studies import Studies
from pipelines.watching.units import UNWANTED_SERIES, Units, Waits
from pipelines.watching.worker import Limits, ProcessorFactory, Worker

LOCK_NAME: Final = "lock"

logger = logging.getLogger(__name__)


class Exchange(Protocol):
    """A server that studies come from or segmentations go to; see `dicomweb.py`."""

    @property
    def sends(self) -> bool:
        """Whether segmentations go to it."""

    @property
    def problem(self) -> str:
        """What the server last refused, `""` if all went well."""

    def fetch(self, ledger: Ledger, folders: Folders, stop: Stop, /) -> int:
        """Fetch what is new; the number of studies that are there and not fetched yet."""

    def send(self, ledger: Ledger, folders: Folders, stop: Stop, /) -> None:
        """Send what is to be sent."""


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
    exchange: Exchange | None = None,
    say: Callable[[str], None] = logger.info,
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
        say: Told of each study in words.

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
    with only_one(folders.private / LOCK_NAME, f"'thorax watch' on {output}"), asked_by_signals() as stop:
        ledger = Ledger(folders.private / LEDGER_NAME)
        worker = Worker(factory, settings.limits)
        heartbeat = Heartbeat(folders.private / HEARTBEAT_NAME)
        try:
            recover(ledger, folders, send=exchange is not None and exchange.sends)
            ledger.look_again(UNWANTED_SERIES)  # the next start may want another
            arrivals = Arrivals([incoming, folders.fetched], ledger, leave_out=output)
            units = Units(ledger, settings.waits, series=settings.series, whole=folders.fetched)
            studies = Studies(
                ledger,
                folders,
                worker,
                heartbeat,
                stop,
                tries=settings.tries,
                grace_s=settings.grace_s,
                send=exchange is not None and exchange.sends,
                say=say,
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
