"""Which files have arrived whole: those that have not changed for some time."""

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pipelines.watching.identity import Stamp, stamp
from pipelines.watching.ledger import Ledger

UNFINISHED: Final = (".part", ".partial", ".tmp", ".temp", ".crdownload", ".filepart", ".swp")
"""Endings by which programs mark what they are still writing."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """A file that nothing has been done with yet.

    Attributes:
        path: Where it is.
        stamp: Its size and time.
        still_s: Seconds for which it has been seen unchanged.
    """

    path: Path
    stamp: Stamp
    still_s: float


class Arrivals:
    """Looks at folders again and again, and remembers since when each new file has not changed.

    The times of files are not trusted for that, since copies may carry those of the original from the
    beginning: a file has to be seen twice.

    Args:
        folders: Existing folders, searched with their sub-folders; hidden files are passed over.
        ledger: Knows the files that have been dealt with.
        leave_out: Folder that is not searched: that of the results.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        folders: Sequence[Path],
        ledger: Ledger,
        *,
        leave_out: Path,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folders = folders
        self._ledger = ledger
        self._leave_out = leave_out.resolve()
        self._clock = clock
        self._since: dict[Path, tuple[Stamp, float]] = {}

    def look(self) -> list[Arrival]:
        """New files in the order of their paths; only these are held in memory."""
        now = self._clock()
        since: dict[Path, tuple[Stamp, float]] = {}
        for folder in self._folders:
            for path in self._files(folder):
                found = stamp(path)
                if found is None or self._ledger.knows(path, found):
                    continue
                before = self._since.get(path)
                since[path] = before if before is not None and before[0] == found else (found, now)
        self._since = since
        return [Arrival(path, found, now - first) for path, (found, first) in sorted(since.items())]

    def _files(self, top: Path) -> Iterator[Path]:
        for folder, subfolders, names in os.walk(top):
            subfolders[:] = [
                name
                for name in subfolders
                if not name.startswith(".") and (Path(folder) / name).resolve() != self._leave_out
            ]
            for name in names:
                if not name.startswith((".", "~")) and not name.lower().endswith(UNFINISHED):
                    yield Path(folder) / name
