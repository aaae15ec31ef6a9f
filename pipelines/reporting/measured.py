"""What commands measured, as figures and as pages."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from pipelines.core.errors import DataError
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.training.run_record import shown_command

Page = TypeVar("Page")

HEADER: Final = ("figure", "", "asked", "")


@dataclass(frozen=True, slots=True)
class BenchFigure:
    """One measured figure.

    Attributes:
        words: What it is.
        value: As measured.
        unit: With the space before it; empty for a ratio.
        digits: Digits after the point that are shown.
        most: Largest value that is good, or None if there is none.
        least: Smallest value that is good, or None if there is none.
    """

    words: str
    value: float
    unit: str
    digits: int
    most: float | None = None
    least: float | None = None

    @property
    def is_kept(self) -> bool | None:
        """Whether the figure is as good as asked, None if nothing is asked."""
        if self.most is not None:
            return self.value <= self.most
        return None if self.least is None else self.value >= self.least

    @property
    def cells(self) -> list[str]:
        """Words, figure, what is asked, and whether it is kept."""
        asked = "" if self.most is None else f"at most {self._shown(self.most)}"
        asked = asked if self.least is None else f"at least {self._shown(self.least)}"
        verdict = {None: "", True: "yes", False: "no"}[self.is_kept]
        return [self.words, self._shown(self.value), asked, verdict]

    def _shown(self, value: float) -> str:
        return f"{value:z.{self.digits}f}{self.unit}"


def page_of_measured(
    path: Path, command: str, make: Callable[[dict[str, Any]], Page]
) -> tuple[dict[str, Any], Page]:
    """Content of a command's JSON file, and what `make` makes of it.

    Args:
        path: File that the command wrote.
        command: The command, as a user types it.
        make: Turns the content into a page.

    Raises:
        DataError: If there is no such file, or it lacks what this version reads.
    """
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return content, make(content)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise DataError(f"expected {path} of '{command}', found {error!r}; measure again") from error


def page_with_command(
    folder: Path, name: str, command: str, make: Callable[[dict[str, Any]], Sequence[str]]
) -> tuple[dict[str, Any], str]:
    """Content of a command's JSON file, and a page of it that ends with the command as it was given.

    Args:
        folder: Folder that the command wrote, with its manifest.
        name: Name of the file in it.
        command: The command, as a user types it.
        make: Turns the content into the lines before.

    Raises:
        DataError: If the file or the manifest is missing, or lacks what this version reads.
    """
    content, lines = page_of_measured(folder / name, command, make)
    _, given = page_of_measured(
        folder / MANIFEST_NAME, command, lambda manifest: shown_command(manifest["command"])
    )
    closing = ["## Command", "", "Paths stand for your own.", "", "```text", given, "```", ""]
    return content, "\n".join([*lines, *closing])
