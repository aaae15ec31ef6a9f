"""Volumes that clients sent for a while, without becoming part of the studies folder."""

import shutil
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.server.admission import check_volume, claimed_shape
from pipelines.server.measurements import note_warnings, noted_warnings
from pipelines.server.worker import PARSER

EXPIRY_S: Final = 3600
"""Time after its last use at which a session ends, s."""

MAX_SESSIONS: Final = 32
"""Sessions at a time; the one unused for longest makes room."""


@dataclass(slots=True)
class Session:
    """A volume that a client sent.

    Attributes:
        id: Random, so that it cannot be guessed.
        image: Existing NIfTI file.
        owner: User who sent it.
        created: Seconds since the epoch.
        used: Seconds since the epoch of its last use.
        expiry_s: Time after its last use at which it ends, s.
    """

    id: str
    image: Path
    owner: str
    created: float
    used: float
    expiry_s: int

    def as_json(self) -> dict[str, Any]:
        """The session as clients are told of it, without paths."""
        return {
            "name": self.id,
            "image": self.image.name,
            "create_ts": int(self.created),
            "last_access_ts": int(self.used),
            "expiry": self.expiry_s,
        }


class Sessions:
    """Sessions of one run of the server; what an earlier run left is removed.

    Args:
        folder: Folder for the volumes; its content is removed.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._sessions: dict[str, Session] = {}
        self._lock = threading.Lock()
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)

    def add(self, file: Path, owner: str, expiry_s: int = 0) -> Session:
        """Move a volume that was sent into a new session.

        Args:
            file: Existing `.nii` or `.nii.gz` file.
            owner: User who sent it.
            expiry_s: Shorter time than usual after which it ends, 0 for the usual one.

        Raises:
            DataError: If it is not one 3-D volume.
        """
        shape = claimed_shape(file)
        if len(shape) != 3:
            raise DataError(f"expected one frame (3-D), found {shape}; send the frames one by one")
        PARSER.call(check_volume, file)
        self._make_room()
        name = str(uuid.uuid4())
        image = self._folder / name / ("image.nii.gz" if file.name.endswith(".gz") else "image.nii")
        image.parent.mkdir()
        warnings = noted_warnings(file)
        file.replace(image)
        note_warnings(image, warnings)
        now = time.time()
        session = Session(name, image, owner, now, now, min(expiry_s, EXPIRY_S) if expiry_s > 0 else EXPIRY_S)
        with self._lock:
            self._sessions[name] = session
        return session

    def get(self, session_id: str, owner: str) -> Session | None:
        """The session with this id if this user began it and it has not ended, else None."""
        session = self._sessions.get(session_id)
        if session is None or session.owner != owner or session.used + session.expiry_s < time.time():
            return None
        session.used = time.time()
        return session

    def remove(self, session: Session) -> None:
        """End a session and remove its volume."""
        with self._lock:
            self._sessions.pop(session.id, None)
        shutil.rmtree(session.image.parent, ignore_errors=True)

    def _make_room(self) -> None:
        now = time.time()
        by_use = sorted(self._sessions.values(), key=lambda one: one.used)
        too_many = max(0, len(by_use) + 1 - MAX_SESSIONS)
        for place, session in enumerate(by_use):
            if place < too_many or session.used + session.expiry_s < now:
                self.remove(session)
