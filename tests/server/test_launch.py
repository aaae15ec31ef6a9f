"""What `thorax serve` asks for before it serves."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.cli.serve import serve as serve_command
from pipelines.core.errors import ConfigError, DataError
from pipelines.server.launch import serve
from pipelines.server.users import Role, Users

from .conftest import PASSWORD


@pytest.mark.parametrize("reach", [{"host": "0.0.0.0"}, {"host": "::"}, {"allow_hosts": ("heart.example",)}])
def test_others_are_not_served_without_login(tmp_path: Path, reach: dict) -> None:
    with pytest.raises(ConfigError, match="expected a login for a server that others can reach"):
        serve(tmp_path, **reach)
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_users_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a file of users"):
        serve(tmp_path, host="0.0.0.0", users=tmp_path / "users.json")


def test_a_studies_folder_must_be_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected a folder with studies"):
        serve(tmp_path / "absent")


def test_nothing_is_reported_as_served_before_it_is(tmp_path: Path) -> None:
    answer = CliRunner().invoke(app, ["serve", str(tmp_path / "absent")])
    assert isinstance(answer.exception, DataError)
    assert "serving" not in answer.output


def test_the_start_is_reported_before_anything_heavy_and_the_page_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = []

    def serve(studies: Path, *, on_ready: Callable[[], None], **_: object) -> None:
        told.append(capsys.readouterr().out)
        on_ready()
        told.append(capsys.readouterr().out)

    monkeypatch.setattr("pipelines.server.launch.serve", serve)
    serve_command(tmp_path, port=8123)
    assert told[0].split() == f"starting the server for {tmp_path}".split()
    assert "http://127.0.0.1:8123/viewer/" in told[1].split()


def test_without_the_extra_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "monailabel", None)
    with pytest.raises(ConfigError, match=r"pip install -c constraints\.txt -e '\.\[label\]'"):
        serve(tmp_path)


def test_a_user_is_added_with_the_password_that_is_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "users.json"
    answer = CliRunner().invoke(
        app, ["server", "add-user", "anna", "--users", str(path)], input=PASSWORD + "\n"
    )
    assert answer.exit_code == 0, answer.output
    assert PASSWORD not in answer.output
    assert Users(path).role("anna") is Role.ANNOTATOR
    assert Users(path).is_right("anna", PASSWORD)
