"""A process of its own that does the work, and how the watcher is asked to end."""

import errno
import logging
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final

import psutil

from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.watching.ledger import printable
from pipelines.watching.units import Kind

NAP_S: Final = 0.1
"""Longest time for which a sleep does not see that the end was asked for, seconds."""


class Stop:
    """Whether the end was asked for, and when."""

    def __init__(self) -> None:
        self._asked_at: float | None = None

    def is_asked(self) -> bool:
        """Whether nothing new may be begun."""
        return self._asked_at is not None

    def ask(self) -> None:
        """Ask for the end; a second time changes nothing."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    def leaves(self, grace_s: float) -> bool:
        """Whether what was begun may go on, `grace_s` seconds after the end was asked for at most."""
        return self._asked_at is None or time.monotonic() - self._asked_at < grace_s

    def sleep(self, seconds: float) -> None:
        """Sleep, but not on when the end is asked for."""
        until = time.monotonic() + seconds
        while not self.is_asked() and (left := until - time.monotonic()) > 0:
            time.sleep(min(left, NAP_S))


@contextmanager
def asked_by_signals() -> Iterator[Stop]:
    """A stop that SIGTERM and SIGINT ask for while the block runs; only in the main thread."""
    stop = Stop()
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = [signal.signal(number, lambda *_: stop.ask()) for number in numbers]
    try:
        yield stop
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


TICK_S: Final = 0.1
"""How often a worker at work is looked at, seconds."""

RENEW_SHARE: Final = 0.5
"""Share of the memory limit above which a worker is replaced after a study."""

NO_SPACE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is asked to do.

    Attributes:
        kind: What kind of study it is.
        files: Existing input files.
        folder: Existing empty folder for everything that is written.
    """

    kind: Kind
    files: tuple[Path, ...]
    folder: Path


Processor = Callable[[Job], dict[str, Any]]
"""Writes the results of a job into its folder; returns what is said of them in `result.json`."""

ProcessorFactory = Callable[[], Processor]
"""Makes the processor inside of the worker; it can be pickled, and imports what is heavy late."""


class Ending(StrEnum):
    """How a job ended."""

    DONE = "done"
    BAD_INPUT = "bad input"
    FAILED = "failed"
    STOPPED = "stopped"
    BAD_CONFIG = "bad configuration"
    NO_OUTPUT = "no output"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a job.

    Attributes:
        ending: How it ended. Only `FAILED` is worth another try.
        reason: Why it is not `DONE`.
        content: What the processor returned.
        memory_mb: Resident memory of the worker afterwards, MB (1e6 bytes); 0 if it is gone.
    """

    ending: Ending
    reason: str = ""
    content: dict[str, Any] | None = None
    memory_mb: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a worker may use.

    Attributes:
        study_s: Time for one study, seconds.
        memory_mb: Resident memory above which it is killed, MB (1e6 bytes).
        studies: Studies after which it is replaced.
    """

    study_s: float = 1800.0
    memory_mb: float = 6000.0
    studies: int = 200


class Worker:
    """Does one job at a time in a process that is replaced when it dies, grows or gets old.

    Args:
        factory: Makes the processor inside of the process.
        limits: What it may use.
    """

    def __init__(self, factory: ProcessorFactory, limits: Limits) -> None:
        self._factory = factory
        self._limits = limits
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None
        self._done = 0
        self.started = 0

    def run(
        self,
        job: Job,
        *,
        may_go_on: Callable[[], bool],
        on_memory: Callable[[float], None],
    ) -> Outcome:
        """Do a job and wait for its end.

        Args:
            job: What is to be done.
            may_go_on: Asked again and again; when it says no, the worker is killed.
            on_memory: Called with the worker's memory in MB (1e6 bytes) while it works.
        """
        process, pipe = self._ready()
        try:
            pipe.send(job)
        except OSError:
            return self._died(process)
        started = time.monotonic()
        while not wait([pipe, process.sentinel], timeout=TICK_S):
            memory_mb = resident_mb(process.pid)
            on_memory(memory_mb)
            if not may_go_on():
                return self._killed(Ending.STOPPED, "stopped")
            if memory_mb > self._limits.memory_mb:
                limit = f"{self._limits.memory_mb:.0f} MB of memory"
                return self._killed(Ending.FAILED, f"expected at most {limit}, found {memory_mb:.0f} MB")
            if time.monotonic() - started > self._limits.study_s:
                return self._killed(Ending.FAILED, f"took longer than {self._limits.study_s:.0f} s")
        try:
            outcome: Outcome = pipe.recv()
        except (EOFError, OSError):
            return self._died(process)
        self._done += 1
        if self._done >= self._limits.studies or outcome.memory_mb > RENEW_SHARE * self._limits.memory_mb:
            self.close()
        return outcome

    def close(self) -> None:
        """End the process; the next job starts another."""
        process, pipe = self._process, self._pipe
        self._process = self._pipe = None
        if pipe is not None:
            pipe.close()
        if process is not None:
            process.join(timeout=TICK_S)
            if process.exitcode is None:
                process.kill()
            process.join()
            process.close()

    def _ready(self) -> tuple[BaseProcess, Connection]:
        if self._process is not None and self._pipe is not None and self._process.is_alive():
            return self._process, self._pipe
        self.close()
        context = multiprocessing.get_context("spawn")
        self._pipe, inner = context.Pipe()
        self._process = context.Process(target=_serve, args=(inner, self._factory), name="thorax-worker")
        self._process.start()
        inner.close()
        self._done = 0
        self.started += 1
        return self._process, self._pipe

    def _died(self, process: BaseProcess) -> Outcome:
        process.join()
        code = process.exitcode or 0
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code}"
        self.close()
        return Outcome(Ending.FAILED, f"the process that worked on it {how}")

    def _killed(self, ending: Ending, reason: str) -> Outcome:
        if self._process is not None:
            self._process.kill()
        self.close()
        return Outcome(ending, reason)


def resident_mb(pid: int | None) -> float:
    """Resident memory of a process in MB (1e6 bytes), 0 if it is gone."""
    try:
        return float(psutil.Process(pid).memory_info().rss) / 1e6
    except psutil.Error:
        return 0.0


def _serve(pipe: Connection, factory: ProcessorFactory) -> None:
    """Jobs until the other end is closed. Signals are for the watcher, which ends this process."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    logging.basicConfig(level=logging.ERROR, stream=sys.stderr)
    processor: Processor | None = None
    while True:
        try:
            job: Job = pipe.recv()
        except EOFError:
            return
        try:
            processor = processor or factory()
            outcome = Outcome(Ending.DONE, content=processor(job))
        except DataError as error:
            outcome = Outcome(Ending.BAD_INPUT, str(error))
        except ConfigError as error:
            outcome = Outcome(Ending.BAD_CONFIG, str(error))
        except OutputError as error:
            outcome = Outcome(Ending.NO_OUTPUT, str(error))
        except Exception as error:  # whatever it is, the study is tried again and then skipped
            logger.exception("cannot process %s", job.files[0])
            is_full = isinstance(error, OSError) and error.errno in NO_SPACE
            reason = f"unexpected {type(error).__name__}: {error}"
            outcome = Outcome(Ending.NO_OUTPUT if is_full else Ending.FAILED, reason)
        reason, memory_mb = printable(outcome.reason), resident_mb(os.getpid())
        pipe.send(Outcome(outcome.ending, reason, outcome.content, memory_mb))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
