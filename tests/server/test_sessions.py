"""Volumes as clients send them, and those that are there for a while."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import SimpleITK as sitk
from fastapi.testclient import TestClient

from pipelines.core.errors import DataError
from pipelines.core.volume import read_volume
from pipelines.server import sessions as sessions_module
from pipelines.server.measurements import noted_warnings
from pipelines.server.sessions import Sessions

from ..dicom_files import write_dicom_series
from .conftest import heart, write_nifti
from .test_tasks import OBLIQUE


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


def begin(client: TestClient, files: list[tuple[str, bytes]], **query: Any) -> Any:
    return client.put("/session/", files=[("files", file) for file in files], params=query)


def session_image(studies: Path, answer: Any) -> Any:
    assert answer.status_code == 200, answer.text
    return read_volume(studies / ".thorax" / "sessions" / answer.json()["session_id"] / "image.nii.gz")


@pytest.fixture
def nrrd(tmp_path: Path) -> bytes:
    """An oblique volume as Slicer writes it."""
    write_nifti(tmp_path / "a.nii.gz", heart(), OBLIQUE)
    sitk.WriteImage(sitk.ReadImage(str(tmp_path / "a.nii.gz")), str(tmp_path / "a.nrrd"))
    return (tmp_path / "a.nrrd").read_bytes()


@pytest.fixture
def slices(tmp_path: Path) -> list[tuple[str, bytes]]:
    """A DICOM series of five slices."""
    cine = (1000 * heart()).astype(np.uint16)[..., None]
    write_dicom_series(write_nifti(tmp_path / "cine.nii.gz", cine), tmp_path / "series")
    return [("../../evil", path.read_bytes()) for path in sorted((tmp_path / "series").iterdir())]


def test_an_nrrd_is_taken_in_with_its_geometry(client: TestClient, studies: Path, nrrd: bytes) -> None:
    image = session_image(studies, begin(client, [("Volume.nrrd", nrrd)]))
    np.testing.assert_allclose(image.affine, OBLIQUE, atol=1e-4)
    np.testing.assert_array_equal(image.array, heart())
    added = client.put("/datastore/?image=new", files={"file": ("a.nrrd", nrrd)})
    assert added.json() == {"image": "new"}
    np.testing.assert_array_equal(read_volume(studies / "new.nii.gz").array, heart())
    assert list((studies / ".thorax" / "uploads").iterdir()) == []


def test_the_files_of_a_dicom_series_become_one_volume(
    client: TestClient, studies: Path, slices: list[tuple[str, bytes]]
) -> None:
    image = session_image(studies, begin(client, slices[::-1]))
    assert image.array.shape == heart().shape
    assert image.spacing_mm == pytest.approx((1.4, 1.4, 8.0))
    np.testing.assert_array_equal(image.array, (1000 * heart()).astype(np.uint16))
    assert list((studies / ".thorax" / "uploads").iterdir()) == []
    assert not (studies.parent / "evil").exists()


def test_what_the_reader_warns_of_stays_with_the_session_or_the_image(
    client: TestClient, studies: Path, slices: list[tuple[str, bytes]]
) -> None:
    tag = b"\x08\x00\x60\x00"
    assert all(tag in content for _, content in slices)
    other = [
        (name, re.sub(tag + b"(....)MR", tag + rb"\1CT", content, flags=re.S)) for name, content in slices
    ]
    doubts = ["its modality is CT: the networks know cardiac MRI only"]
    assert noted_warnings(session_image(studies, begin(client, other)).path) == doubts
    assert noted_warnings(session_image(studies, begin(client, slices)).path) == []
    client.put("/datastore/?image=new", files={"file": ("a.dcm", other[0][1])}).raise_for_status()
    assert noted_warnings(studies / "new.nii.gz") == doubts


def test_what_is_no_one_image_is_refused_and_leaves_nothing(
    client: TestClient, studies: Path, slices: list[tuple[str, bytes]], tmp_path: Path
) -> None:
    layers = sitk.JoinSeries([sitk.Image(4, 5, 3, sitk.sitkUInt8)] * 2)
    sitk.WriteImage(layers, str(tmp_path / "layers.nrrd"))
    whole = (tmp_path / "a.nii.gz").read_bytes() if (tmp_path / "a.nii.gz").exists() else b"x"
    gap = [file for number, file in enumerate(slices) if number != 2]
    cut = [(name, content[: len(content) // 3]) for name, content in slices]
    for files in (
        [("a.nrrd", b"NRRD0004")],
        [("a.nrrd", (tmp_path / "layers.nrrd").read_bytes())],
        [("a.nii.gz", whole), ("b.nii.gz", whole)],
        [*slices, ("c.dcm", b"x")],
        gap,
        cut,
        [("a.dcm", b"x")],
        [("a.tar", b"x")],
    ):
        answer = begin(client, files)
        assert answer.status_code == 400, answer.text
        assert str(tmp_path) not in answer.text
    assert begin(client, slices, uncompress=True).status_code == 400
    for folder in ("uploads", "sessions"):
        assert list((studies / ".thorax" / folder).iterdir()) == []


def test_tags_of_another_form_are_refused(client: TestClient, slices: list[tuple[str, bytes]]) -> None:
    for old, new in ((b"1.4\\1.4", b"x.y\\z.w"), (b"0\\0\\8", b"a\\b\\8"), (b"MR", b"\x00\xff")):
        broken = [(name, content.replace(old, new)) for name, content in slices]
        assert begin(client, broken).status_code in (200, 400)
    for length in range(130, len(slices[0][1]), 97):
        broken = [(name, content[:length] + content[length + 1 :]) for name, content in slices]
        assert begin(client, broken).status_code in (200, 400), length
