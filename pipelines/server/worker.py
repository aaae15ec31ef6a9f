"""Processes that read files and run networks for clients: limited, killed past their limits, and replaced."""

import logging
import multiprocessing
import signal
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import psutil

from pipelines.core.errors import DataError, ThoraxError

logger = logging.getLogger(__name__)

PARSE_S: Final = 60.0
"""Longest time to read what a client sent, s."""

PARSE_BYTES: Final = 6 * 1024**3
"""Memory to read what a client sent: the largest volume that is admitted takes about 3 GB."""

MAX_SHARE: Final = 0.75
"""Of this machine's memory, the most for one process."""

STOP_S: Final = 2.0

Taken = ParamSpec("Taken")
Result = TypeVar("Result")


class TooLongError(Exception):
    """The work took longer than its limit and was ended."""


class TooLargeError(Exception):
    """The work needed more memory than its limit, or ended its process."""


class Worker:
    """Runs functions one at a time in a process of its own, which starts with the first.

    Args:
        name: Of the process.
        most_s: Time after which the process is killed, s.
        most_bytes: Memory beyond what it has when it starts, or None for no limit.
        foreign: Whether its work is about foreign files, on which a library may stumble in any way.
    """

    def __init__(
        self, name: str, *, most_s: float, most_bytes: int | None = None, foreign: bool = False
    ) -> None:
        self.most_s = most_s
        self.most_bytes = most_bytes
        self._name = name
        self._foreign = foreign
        self._lock = threading.Lock()
        self._process: BaseProcess | None = None
        self._pipe: Connection | None = None

    def call(self, function: Callable[Taken, Result], *args: Taken.args, **named: Taken.kwargs) -> Result:
        """Result of a function of a module, worked out in the process; waits while another call runs.

        Raises:
            TooLongError: If it takes longer than the limit; the next call gets a new process.
            TooLargeError: If it needs more memory, or the process dies of it.
            ThoraxError: As the function does.
        """
        with self._lock:
            pipe = self._ready()
            try:
                pipe.send((function, args, named))
                if not pipe.poll(self.most_s):
                    raise TooLongError
                kind, found = pipe.recv()
            except (EOFError, OSError) as error:
                self._end()
                raise TooLargeError from error
            except BaseException:
                self._end()
                raise
        if kind == "result":
            result: Result = found
            return result
        raise found

    def close(self) -> None:
        """End the process, if there is one."""
        with self._lock:
            self._end()

    def _ready(self) -> Connection:
        if self._process is not None and self._pipe is not None and self._process.is_alive():
            return self._pipe
        self._end()
        # Not forked: the server has threads, and its sockets are none of the worker's business.
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        self._process = context.Process(
            target=_serve, args=(other, self.most_bytes, self._foreign), name=self._name, daemon=True
        )
        self._process.start()
        other.close()
        return self._pipe

    def _end(self) -> None:
        if self._process is not None:
            if self._process.is_alive():
                logger.warning("the process %s is ended", self._name)
            self._process.kill()
            self._process.join(STOP_S)
        if self._pipe is not None:
            self._pipe.close()
        self._process = self._pipe = None


PARSER: Final = Worker("parser", most_s=PARSE_S, most_bytes=PARSE_BYTES, foreign=True)
"""Reads what clients send and DICOM files among the studies."""


def _serve(pipe: Connection, most_bytes: int | None, foreign: bool) -> None:
    """Answer calls until the server, at the other end of the pipe, is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            function, args, named = pipe.recv()
        except (EOFError, OSError):
            return
        if most_bytes is not None:  # set late: imports of the function's module are no work
            _limit_memory(most_bytes)
            most_bytes = None
        try:
            answer = "result", function(*args, **named)
        except ThoraxError as error:
            # Readers call a file damaged that asks for more memory than there is.
            is_too_large = isinstance(error.__cause__, MemoryError)
            answer = "error", TooLargeError() if is_too_large else type(error)(str(error))
        except Exception as error:
            answer = "error", _unexpected(error, foreign)
        try:
            pipe.send(answer)
        except OSError:
            return


def _limit_memory(most_bytes: int) -> None:
    """Limit what the process takes from now on, where the system can do so, to a share of what there is."""
    status = Path("/proc/self/status")
    if not status.is_file():
        logger.warning("no limit of memory for what clients send: this system knows none")
        return
    import resource  # absent on Windows

    used_kb = next(
        int(line.split()[1]) for line in status.read_text(encoding="utf-8").splitlines() if "VmData" in line
    )
    limit = used_kb * 1024 + min(most_bytes, int(MAX_SHARE * psutil.virtual_memory().total))
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def _unexpected(error: Exception, foreign: bool) -> Exception:
    if isinstance(error, MemoryError):
        return TooLargeError()
    # PyTorch has no error of its own for memory on a CPU.
    said = str(error) if isinstance(error, RuntimeError) else ""
    if "allocate memory" in said or "out of memory" in said:
        return TooLargeError()
    name = type(error).__name__
    if foreign:
        return DataError(f"expected a file that can be read, found one on which its reader stumbles ({name})")
    return RuntimeError(f"{name}: {error}")
