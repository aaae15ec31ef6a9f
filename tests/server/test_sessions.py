"""Volumes that are there for a while."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.server import sessions as sessions_module
from pipelines.server.sessions import Sessions

from .conftest import heart, write_nifti


def send(sessions: Sessions, folder: Path, **options) -> sessions_module.Session:
    return sessions.add(write_nifti(folder / "sent.nii.gz", heart()), "anna", **options)


def test_a_session_is_its_owners_only_until_it_is_removed(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "sessions")
    session = send(sessions, tmp_path)
    assert sessions.get(session.id, "anna") is session
    assert sessions.get(session.id, "ben") is None
    assert str(tmp_path) not in str(session.as_json())
    sessions.remove(session)
    assert sessions.get(session.id, "anna") is None
    assert list((tmp_path / "sessions").iterdir()) == []


def test_a_session_ends_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sessions = Sessions(tmp_path / "sessions")
    short, usual = send(sessions, tmp_path, expiry_s=60), send(sessions, tmp_path, expiry_s=10**9)
    assert usual.expiry_s == sessions_module.EXPIRY_S
    monkeypatch.setattr(sessions_module.time, "time", lambda: short.used + 61)
    assert sessions.get(short.id, "anna") is None
    assert sessions.get(usual.id, "anna") is usual


def test_the_session_unused_for_longest_makes_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions_module, "MAX_SESSIONS", 2)
    sessions = Sessions(tmp_path / "sessions")
    first, second = send(sessions, tmp_path), send(sessions, tmp_path)
    sessions.get(first.id, "anna")
    send(sessions, tmp_path)
    assert sessions.get(first.id, "anna") is first
    assert sessions.get(second.id, "anna") is None
    assert len(list((tmp_path / "sessions").iterdir())) == 2


def test_a_cine_is_refused_and_leaves_nothing(tmp_path: Path) -> None:
    sessions = Sessions(tmp_path / "sessions")
    with pytest.raises(DataError, match="expected one frame"):
        sessions.add(write_nifti(tmp_path / "sent.nii.gz", np.stack([heart()] * 2, axis=-1)), "anna")
    assert list((tmp_path / "sessions").iterdir()) == []


def test_what_an_earlier_run_left_is_removed(tmp_path: Path) -> None:
    send(Sessions(tmp_path / "sessions"), tmp_path)
    Sessions(tmp_path / "sessions")
    assert list((tmp_path / "sessions").iterdir()) == []
