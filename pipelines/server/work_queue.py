"""Inferences one after the other beside the event loop, and no more waiting than is promised."""

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeVar

MOST_WAITING: Final = 8
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
    """

    def __init__(self, most_waiting: int = MOST_WAITING) -> None:
        self._most = most_waiting + 1
        self._open = 0
        self._length_s = FIRST_GUESS_S
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="inference")

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs or waits."""
        return self._open == 0

    async def run(self, function: Callable[[], Result]) -> Result:
        """Result of a function, when its turn has come.

        Raises:
            BusyError: If too many wait already.
        """
        if self._open >= self._most:
            raise BusyError(max(1, math.ceil(self._open * self._length_s)))
        self._open += 1
        # Counted down when the work ends, not when the one who asked goes away.
        future = asyncio.get_running_loop().run_in_executor(self._thread, self._timed, function)
        future.add_done_callback(self._close)
        return await asyncio.shield(future)

    def _close(self, _: object) -> None:
        self._open -= 1

    def _timed(self, function: Callable[[], Result]) -> Result:
        start = time.perf_counter()
        try:
            return function()
        finally:
            self._length_s = 0.5 * (self._length_s + time.perf_counter() - start)
