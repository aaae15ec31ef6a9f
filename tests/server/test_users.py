"""Users, passwords and tokens."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import jwt
import pytest

from pipelines.core.errors import ConfigError
from pipelines.server import users as users_module
from pipelines.server.tokens import Tokens
from pipelines.server.users import Role, TooManyTriesError, Users, add_user

from .conftest import PASSWORD


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
