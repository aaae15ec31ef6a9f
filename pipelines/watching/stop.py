"""How the watcher is asked to end: by SIGTERM or Ctrl+C, after the study in hand."""

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

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
