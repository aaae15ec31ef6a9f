"""What one folder adds to a report, and how its figures are shown."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.reporting.html import MISSING, Picture, Table
from pipelines.reporting.language import Language


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that a command wrote.

    Attributes:
        folder: The folder.
        kind: Name of its kind, a key of the language's files.
        content: JSON in the file that its kind is known by, empty if that file is none.
        manifest: Its `manifest.json`, empty if it holds none.
        figures_only: Its pictures that show patients are left out.
    """

    folder: Path
    kind: str
    content: dict[str, Any]
    manifest: dict[str, Any]
    figures_only: bool = False

    def pictures(self, folder: str, of_patients: Sequence[str] = ("*",)) -> list[Path]:
        """Pictures in a sub-folder in name order, with `figures_only` without those of patients.

        Args:
            folder: Name of the sub-folder.
            of_patients: Patterns of the names of pictures that show patients.
        """
        paths = sorted((self.folder / folder).glob("*.png"))
        hidden = of_patients if self.figures_only else ()
        return [path for path in paths if not any(path.match(pattern) for pattern in hidden)]

    @property
    def name(self) -> str:
        """Name of the folder, by which the report speaks of it."""
        return self.folder.resolve().name


@dataclass(frozen=True, slots=True)
class Part:
    """What a folder adds to a chapter.

    Attributes:
        title: Heading.
        paragraphs: Text.
        points: Findings, a sentence each.
        tables: Its tables.
        pictures: Its pictures.
        listing: Preformatted text.
        limits: What its figures do not say, a sentence each.
        suggestions: What follows from its figures by rule, a sentence each.
    """

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    listing: str = ""
    limits: Sequence[str] = field(default=())
    suggestions: Sequence[str] = field(default=())


@dataclass(frozen=True, slots=True)
class BarChart(Picture):
    """A picture of bars that a program for slides can draw itself.

    Attributes:
        categories: Names along the axis.
        series: Values of each series by its name, one a category; None where there is none.
    """

    categories: Sequence[str] = ()
    series: Sequence[tuple[str, Sequence[float | None]]] = ()


def figure_text(value: float | None, digits: int) -> str:
    """A figure with so many digits, a dash for None."""
    return MISSING if value is None else f"{value:.{digits}f}"


def interval_text(ends: Sequence[float] | None, digits: int, words: Language) -> str:
    """Both ends of an interval, a dash for None."""
    if ends is None or None in ends:
        return MISSING
    return words("figure.interval", low=f"{ends[0]:.{digits}f}", high=f"{ends[1]:.{digits}f}")


def estimate_text(value: float | None, ends: Sequence[float] | None, digits: int, words: Language) -> str:
    """A figure and its interval in brackets, where it has one."""
    shown = figure_text(value, digits)
    return shown if ends is None else f"{shown} ({interval_text(ends, digits, words)})"
