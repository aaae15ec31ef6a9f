import errno
import json
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jwt
import pytest
from fastapi.testclient import TestClient

from pipelines.core.errors import ConfigError
from pipelines.server import users as audit_module
from pipelines.server import users as users_module
from pipelines.server.api import make_server
from pipelines.server.users import AuditLog, Role, Tokens, TooManyTriesError, Users, add_user

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
    monkeypatch.setattr(audit_module, "MAX_BYTES", 300)
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


def test_a_full_disk_is_reported(client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
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
    with monkeypatch.context() as patched:  # the body itself is received to the disk
        patched.setattr(tempfile.SpooledTemporaryFile, "write", full)
        answer = client.put("/session/", files={"files": ("a.nii.gz", content)})
    assert answer.status_code == 507
    assert "secret" not in answer.text
    assert client.put(
        "/datastore/image", params={"image": "new"}, files={"file": ("a.nii.gz", content)}
    ).json() == {"image": "new"}


def test_a_large_upload_of_one_user_leaves_room_for_others(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pipelines.server import access

    monkeypatch.setattr(access, "MAX_UPLOADS", 0)
    answer = client.put("/session/", files={"files": ("a.nii.gz", bytes(2_000_000))})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "5")
    assert client.put("/session/", files={"files": ("a.nii.gz", bytes(2_000))}).status_code == 400


def test_what_a_killed_server_left_is_removed(app: Any, studies: Path) -> None:
    left = studies / ".thorax" / "uploads" / "left.nii.gz"
    left.parent.mkdir(parents=True, exist_ok=True)
    left.write_bytes(b"x")
    make_server(app)
    assert not left.exists()


def test_a_password_is_kept_as_a_hash_for_the_owner_only(users_file: Path) -> None:
    assert PASSWORD not in users_file.read_text(encoding="utf-8")
    assert users_file.stat().st_mode & 0o077 == 0


def test_only_the_right_password_of_a_known_user_is_right(users_file: Path) -> None:
    users = Users(users_file)
    assert users.is_right("annotator", PASSWORD)
    assert not users.is_right("annotator", PASSWORD + "x")
    assert not users.is_right("nobody", PASSWORD)
    assert not users.is_right("annotator", PASSWORD + "x" * 2000)


def test_guessing_is_stopped_for_that_name_only(users_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    users = Users(users_file)
    for _ in range(users_module.TRIES):
        assert not users.is_right("annotator", "wrong")
    with pytest.raises(TooManyTriesError):
        users.is_right("annotator", PASSWORD)
    assert users.is_right("admin", PASSWORD)
    monkeypatch.setattr(users_module, "WINDOW_S", 0.0)
    assert users.is_right("annotator", PASSWORD)


def test_guessing_from_one_address_locks_no_other_out(
    users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_module, "time", SimpleNamespace(monotonic=lambda: 7.0))
    users = Users(users_file)
    for _ in range(users_module.TRIES):
        assert not users.is_right("annotator", "wrong", "10.0.0.1")
    with pytest.raises(TooManyTriesError) as refusal:
        users.check_tries("annotator", "10.0.0.1")
    assert refusal.value.retry_after_s == 60
    assert users.is_right("annotator", PASSWORD, "10.0.0.2")


def test_many_names_from_one_address_are_refused_before_they_are_looked_at(
    users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_module, "TRIES_OF_ADDRESS", 3)
    users = Users(users_file)
    for number in range(3):
        assert not users.is_right(f"nobody{number}", "wrong", "10.0.0.1")
    with pytest.raises(TooManyTriesError):
        users.check_tries("admin", "10.0.0.1")
    users.check_tries("admin", "10.0.0.2")


def test_the_mark_of_a_user_changes_with_the_password(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "anna", PASSWORD, Role.USER)
    users = Users(path)
    before = users.mark("anna")
    assert before == users.mark("anna") != users.mark("berta")
    add_user(path, "anna", PASSWORD, Role.USER)
    assert users.mark("anna") != before
    assert "anna" in (tmp_path / "users-audit.log").read_text(encoding="utf-8")
    assert PASSWORD not in (tmp_path / "users-audit.log").read_text(encoding="utf-8")


def test_a_change_of_the_file_counts_at_once(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    add_user(path, "anna", PASSWORD, Role.USER)
    users = Users(path)
    assert users.role("anna") is Role.USER
    add_user(path, "anna", PASSWORD + "2", Role.ADMIN)
    assert users.role("anna") is Role.ADMIN
    assert users.is_right("anna", PASSWORD + "2")
    path.write_text(json.dumps({"users": {}}), encoding="utf-8")
    assert users.role("anna") is None


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"users": {"a": {}}}', '{"users": {"a": {"role": "king", "password": "x"}}}']
)
def test_a_file_of_something_else_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(ConfigError, match="expected names with a role and an Argon2 hash"):
        Users(path)


def test_a_server_with_login_needs_a_user(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a file of users"):
        Users(tmp_path / "absent.json")
    (tmp_path / "empty.json").write_text('{"users": {}}', encoding="utf-8")
    with pytest.raises(ConfigError, match="expected at least one user"):
        Users(tmp_path / "empty.json")


@pytest.mark.parametrize(("name", "password"), [("a b", PASSWORD), ("", PASSWORD), ("anna", "short")])
def test_odd_names_and_short_passwords_are_refused(tmp_path: Path, name: str, password: str) -> None:
    with pytest.raises(ConfigError, match="expected a (name|password) of"):
        add_user(tmp_path / "users.json", name, password, Role.USER)


def test_a_token_names_its_user_until_it_ends() -> None:
    tokens = Tokens()
    token = tokens.issue("anna")
    assert tokens.name(token) == "anna"
    tokens.end(token)
    assert tokens.name(token) is None
    assert Tokens(timedelta(seconds=-1)).name(Tokens(timedelta(seconds=-1)).issue("anna")) is None


def test_a_token_of_another_server_is_refused() -> None:
    assert Tokens().name(Tokens().issue("anna")) is None


@pytest.mark.parametrize("algorithm", ["none", "HS512"])
def test_a_token_cannot_choose_its_algorithm(algorithm: str) -> None:
    tokens = Tokens()
    now = datetime.now(UTC)
    claims = {"sub": "admin", "aud": "thorax", "iat": now, "exp": now + timedelta(hours=1), "jti": "1"}
    key = None if algorithm == "none" else tokens._secret
    assert tokens.name(jwt.encode(claims, key, algorithm=algorithm)) is None


def test_a_token_that_never_ends_is_refused() -> None:
    tokens = Tokens()
    claims = {"sub": "admin", "aud": "thorax", "iat": datetime.now(UTC), "jti": "1"}
    assert tokens.name(jwt.encode(claims, tokens._secret, algorithm="HS256")) is None
