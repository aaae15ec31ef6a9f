"""How far a study has come, as the ledger has it."""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How far a study has come."""

    WORKING = "working"
    WAITING = "waiting"
    DONE = "done"
    QUARANTINED = "quarantined"


@dataclass(frozen=True, slots=True)
class StudyRow:
    """A study as the ledger has it.

    Attributes:
        id: SHA-256 of its content.
        folder: Name of its folder in `studies/` or `quarantine/`.
        kind: `"heart"` or `"xray"`.
        origin: What stays the same when more of it arrives: a path, or the UID of a DICOM series.
        state: How far it has come.
        tries: How often work on it was begun and not given back.
        reason: Why the last try failed, `""` if none did.
    """

    id: str
    folder: str
    kind: str
    origin: str
    state: State
    tries: int
    reason: str
