"""Findings of a survey that need a decision, and how urgent each is."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

MOST_NAMES = 6
"""Names that a sentence lists."""


class Urgency(StrEnum):
    """What happens if nobody decides."""

    STOPS = "before training"
    METHOD = "choice of method"
    NOTE = "to be reported"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding.

    Attributes:
        urgency: What happens if nobody decides.
        found: What was found, with figures.
        decide: What there is to decide.
    """

    urgency: Urgency
    found: str
    decide: str


def listed(names: Sequence[str]) -> str:
    """Names in a sentence, the first `MOST_NAMES` of them, each once."""
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - MOST_NAMES} more" if len(distinct) > MOST_NAMES else ""
    return ", ".join(distinct[:MOST_NAMES]) + more


def counted(count: int, noun: str) -> str:
    """A number with its noun, e.g. `"1 volume"`, `"2 volumes"`."""
    return f"{count} {noun}{'' if count == 1 else 's'}"
