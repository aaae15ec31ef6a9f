"""Volumes that clients send: taken in as NIfTI, and kept for a while outside of the studies folder."""

import shutil
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from fastapi import UploadFile

from pipelines.core.errors import DataError
from pipelines.core.volume import write_image
from pipelines.inference.inputs import DICOM_SUFFIXES
from pipelines.server.admission import check_volume, claimed_shape, dicom_volume, nrrd_volume
from pipelines.server.measurements import note_warnings, noted_warnings
from pipelines.server.requests import received
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


VOLUME_SUFFIXES: Final = (".nii.gz", ".nii", ".nrrd")
"""Formats of volumes in one file."""


@contextmanager
def received_volume(uploads: Sequence[UploadFile], folder: Path) -> Iterator[Path]:
    """One image that was sent, as a NIfTI file under a name of the server's own, until the block ends.

    Args:
        uploads: One NIfTI or NRRD file, or the DICOM files of one series.
        folder: Existing folder for them.

    Raises:
        HTTPException: 400 for a single file of another format.
        DataError: If the files are no image of these, or one of more voxels than are taken.
    """
    is_series = len(uploads) > 1 or (uploads[0].filename or "").lower().endswith(DICOM_SUFFIXES)
    if is_series:
        work = folder / str(uuid.uuid4())
        work.mkdir()
        files, image = [work / f"{number:05}.dcm" for number in range(len(uploads))], work / "image.nii.gz"
        try:
            for file, upload in zip(files, uploads, strict=True):
                with file.open("wb") as stream:
                    shutil.copyfileobj(upload.file, stream)
            volume = PARSER.call(dicom_volume, files)
            write_image(image, volume)
            note_warnings(image, volume.warnings)
            yield image
        finally:
            shutil.rmtree(work, ignore_errors=True)
        return
    with received(uploads[0], folder, VOLUME_SUFFIXES) as path:
        if path.suffix != ".nrrd":
            yield path
            return
        image = path.with_suffix(".nii.gz")
        try:
            write_image(image, PARSER.call(nrrd_volume, path))
            yield image
        finally:
            image.unlink(missing_ok=True)
