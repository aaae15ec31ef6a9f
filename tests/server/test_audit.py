"""Who did what is recorded, without names of patients, and logins end when they should."""

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from pipelines.server import audit as audit_module
from pipelines.server.api import make_server
from pipelines.server.audit import AuditLog
from pipelines.server.users import Role, Users, add_user

from .conftest import PASSWORD, heart, write_nifti


@pytest.fixture
def users_path(tmp_path: Path) -> Path:
    add_user(tmp_path / "users.json", "anna", PASSWORD, Role.REVIEWER)
    return tmp_path / "users.json"


@pytest.fixture
def login(app: Any, users_path: Path) -> TestClient:
    """A client of a server with login that has logged in as anna."""
    server = make_server(app, users=Users(users_path))
    client = TestClient(server, base_url="http://127.0.0.1:8000")
    told = client.post("/auth/token", data={"username": "anna", "password": PASSWORD}).json()
    client.headers["Authorization"] = f"Bearer {told['access_token']}"
    assert client.get("/info/").status_code == 200
    return client


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def test_deeds_are_recorded_with_who_and_outcome(login: TestClient, studies: Path, tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "a.nii.gz", heart() * 0).read_bytes()
    image = {"image": "patient001_frame01"}
    login.get("/datastore/image", params=image)
    login.put("/datastore/label", params=image, files={"label": ("a.nii.gz", content)})
    login.put("/datastore/label", params=image, files={"label": ("a.nii.gz", b"no image")})
    login.post("/train/unet")
    login.post("/auth/token", data={"username": "anna", "password": "wrong password"})
    login.post("/auth/token", data={"username": PASSWORD, "password": "anna"})
    login.get("/info/", headers={"Authorization": ""})
    found = lines(studies / ".thorax" / "audit.log")
    assert [(line["who"], line["what"], line["outcome"]) for line in found] == [
        ("anna", "log in", 200),
        ("anna", "download image", 200),
        ("anna", "save label", 200),
        ("anna", "save label", 400),
        ("anna", "begin training", 400),
        ("anna", "log in", 401),
        ("unknown name", "log in", 401),
        ("", "GET /info/", 401),
    ]
    assert len({line["image"] for line in found if "image" in line}) == 1
    text = (studies / ".thorax" / "audit.log").read_text(encoding="utf-8")
    assert "patient001" not in text
    assert PASSWORD not in text
    assert all(line["time"].endswith("+00:00") and line["address"] for line in found)


def test_names_are_written_if_asked_for_and_the_log_is_rotated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit_module, "MOST_BYTES", 300)
    monkeypatch.setattr(audit_module, "KEPT_FILES", 2)
    log = AuditLog(tmp_path / "log" / "audit.log", names=True)
    for number in range(9):
        log.record("save label", 200, who="anna\nadmin", image=f"patient{number}")
    assert sorted(path.name for path in (tmp_path / "log").iterdir()) == [
        "audit.log",
        "audit.log.1",
        "audit.log.2",
    ]
    (last,) = lines(tmp_path / "log" / "audit.log")[-1:]
    assert (last["image"], last["who"]) == ("patient8", "anna\nadmin")


def test_a_token_ends_with_a_change_of_the_password(login: TestClient, users_path: Path) -> None:
    add_user(users_path, "anna", PASSWORD + "2", Role.REVIEWER)
    assert login.get("/info/").status_code == 401


def test_a_token_ends_with_its_user_who_may_come_back(login: TestClient, users_path: Path) -> None:
    add_user(users_path, "berta", PASSWORD, Role.USER)
    known = json.loads(users_path.read_text(encoding="utf-8"))
    del known["users"]["anna"]
    users_path.write_text(json.dumps(known), encoding="utf-8")
    assert login.get("/info/").status_code == 401
    add_user(users_path, "anna", PASSWORD, Role.REVIEWER)
    assert login.get("/info/").status_code == 401


def test_a_full_disk_is_told(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    content = write_nifti(tmp_path / "a.nii.gz", heart()).read_bytes()

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "/srv/secret")

    for name in ("copyfile", "copyfileobj"):
        with monkeypatch.context() as patched:
            patched.setattr(shutil, name, full)
            answer = client.put(
                "/datastore/image", params={"image": "new"}, files={"file": ("a.nii.gz", content)}
            )
        assert answer.status_code == 507
        assert "disk is full" in answer.json()["detail"]
        assert "secret" not in answer.text
    assert client.put(
        "/datastore/image", params={"image": "new"}, files={"file": ("a.nii.gz", content)}
    ).json() == {"image": "new"}


def test_a_large_upload_of_one_user_leaves_room_for_others(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.server import access

    monkeypatch.setattr(access, "MOST_UPLOADS", 0)
    answer = client.put("/session/", files={"files": ("a.nii.gz", bytes(2_000_000))})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert client.put("/session/", files={"files": ("a.nii.gz", bytes(2_000))}).status_code == 400


def test_what_a_killed_server_left_is_removed(app: Any, studies: Path) -> None:
    left = studies / ".thorax" / "uploads" / "left.nii.gz"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"x")
    make_server(app)
    assert not left.exists()
