"""Inferences one after the other beside the event loop, no more waiting than fit, and the time of jobs."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final, TypeVar


def job_time() -> str:
    """The time of now in UTC, as MONAI Label writes it in the status of a job."""
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S")


MAX_WAITING: Final = 8
"""Inferences that may wait while one runs."""

FIRST_GUESS_S: Final = 2.0
"""Length of an inference before one was measured, s."""

Result = TypeVar("Result")


class BusyError(Exception):
    """Too many inferences wait already.

    Attributes:
        retry_after_s: When there should be room again, whole seconds from 1.
    """

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(f"{retry_after_s} s")
        self.retry_after_s = retry_after_s


class WorkQueue:
    """Runs functions one at a time in a thread of its own.

    Args:
        most_waiting: Functions that may wait while one runs.
        most_of_one: Functions of one owner that may run or wait, so that there is room for others.
    """

    def __init__(self, most_waiting: int = MAX_WAITING, *, most_of_one: int | None = None) -> None:
        self._most = most_waiting + 1
        self._most_of_one = most_of_one or max(1, self._most // 2)
        self._open: list[tuple[str, str]] = []
        self._length_s: dict[str, float] = {}
        self._began: float | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return not self._open

    async def run(self, function: Callable[[], Result], *, owner: str = "", kind: str = "") -> Result:
        """Result of a function, when its turn has come.

        Args:
            function: Work to be done.
            owner: Who asks for it; `""` where there is only one.
            kind: What work it is; work of a kind takes about as long as it took before.

        Raises:
            BusyError: If too many wait already, of this owner or in all.
        """
        of_owner = sum(name == owner for name, _ in self._open) if owner else 0
        if len(self._open) >= self._most or of_owner >= self._most_of_one:
            raise BusyError(max(1, math.ceil(self._wait_s())))
        entry = (owner, kind)
        self._open.append(entry)
        # Counted down when the work ends, not when the one who asked goes away.
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._timed, function, kind)
        future.add_done_callback(lambda _: self._open.remove(entry))
        return await asyncio.shield(future)

    def _wait_s(self) -> float:
        """Time that what runs and waits should take yet, s."""
        expected = sum(self._length_s.get(kind, FIRST_GUESS_S) for _, kind in self._open)
        elapsed = 0.0 if self._began is None else time.perf_counter() - self._began
        first = self._length_s.get(self._open[0][1], FIRST_GUESS_S) if self._open else 0.0
        return expected - min(elapsed, first)

    def _timed(self, function: Callable[[], Result], kind: str) -> Result:
        self._began = time.perf_counter()
        try:
            return function()
        finally:
            length = time.perf_counter() - self._began
            self._length_s[kind] = 0.5 * (self._length_s.get(kind, length) + length)
            self._began = None
