"""A search space: settings of a training workflow and the values they may take."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigError
from pipelines.training.launch import read_settings


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers between two bounds.

    Attributes:
        low: Smallest value.
        high: Largest value.
        log: Whether each factor, not each difference, is as likely as another.
    """

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """One of several values, all as likely."""

    values: list[Any]


Space = Mapping[str, Range | Choice]
"""Values that each setting may take, by the setting's id in the configuration."""


def read_space(path: Path) -> Space:
    """A search space of a YAML file.

    Each line names a setting and what it may be: `{low: 0.1, high: 0.5}`, with
    `log: true` for logarithmic draws, or `{choice: [a, b]}`.

    Args:
        path: File to read.

    Raises:
        ConfigError: If the file is missing or an entry cannot be understood.
    """
    content = read_settings(path)
    if not content:
        raise ConfigError(f"expected settings and their ranges in {path}, found none")
    return {name: _domain(name, entry, path) for name, entry in content.items()}


def _domain(name: str, entry: Any, path: Path) -> Range | Choice:
    match entry:
        case {"choice": [_, *_] as values, **others} if not others:
            return Choice(values)
        case {"low": float() | int() as low, "high": float() | int() as high, **others} if (
            low < high and set(others) <= {"log"} and (low > 0 or not others.get("log"))
        ):
            return Range(float(low), float(high), log=bool(others.get("log", False)))
    raise ConfigError(
        f"expected {name} to be {{low: 0.1, high: 0.5}}, with log: true only above 0, or {{choice: [a, b]}}, "
        f"found {entry!r} in {path}"
    )
