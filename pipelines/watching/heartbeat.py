"""A small file that says what the watcher is doing now, written again and again."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pipelines.core.files import write_json
from pipelines.watching.worker import resident_mb

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
        self._content: dict[str, Any] = {"pid": os.getpid(), "since": _now()}

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
            write_json(self._path, self._content | memory | {"time": _now()})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
