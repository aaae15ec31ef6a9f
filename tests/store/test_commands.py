"""The commands about stores, as a user calls them."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from pipelines.cli.main import app
from pipelines.core.errors import ConfigError, DataError

NAME = "tiny_segmentation"


def run(*words: object, **more: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=False, **more)  # type: ignore[arg-type]


def test_a_bundle_is_pushed_pulled_and_vouched_for(bundle: Path, tmp_path: Path) -> None:
    (bundle / "models" / "tiny" / "model.ts").write_bytes(b"PK")
    said = run("store", "push", bundle, tmp_path / "kept").output
    assert "left out models/tiny/model.ts" in said
    fingerprint = said.split("fingerprint ")[1].split(":")[0]
    assert (
        "its configs can run code"
        in run("store", "pull", tmp_path / "kept", NAME, "-o", tmp_path / "out").output
    )
    shutil.rmtree(tmp_path / "out")
    words = ("store", "pull", tmp_path / "kept", NAME, "-o", tmp_path / "out", "--fingerprint", fingerprint)
    assert "can run code" not in run(*words).output


def test_terms_are_printed_and_need_an_answer(tmp_path: Path) -> None:
    (tmp_path / "hearts").mkdir()
    (tmp_path / "hearts" / "a.csv").write_text("1\n", encoding="utf-8")
    words = ("store", "push", tmp_path / "hearts", tmp_path / "kept", "--reader", "acdc")
    with pytest.raises(ConfigError, match="--accept-licence"):
        run(*words, input="y\n")  # not a terminal
    assert not (tmp_path / "kept").exists()
    said = run(*words, "--accept-licence").output
    assert "terms: CC BY-NC-SA 4.0" in said
    said = run(
        "store", "pull", tmp_path / "kept", "hearts", "-o", tmp_path / "out", "--accept-licence"
    ).output
    assert said.index("terms: CC BY-NC-SA 4.0") < said.index("1 files in")
    folder = tmp_path / "out" / "hearts"
    assert "is as it was pushed" in run("store", "verify", folder).output
    (folder / "a.csv").write_text("2\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected .* as it was pushed"):
        run("store", "verify", folder)
    result = CliRunner().invoke(app, ["store", "verify", str(folder)])
    assert "changed a.csv" in result.output


def test_at_a_terminal_the_question_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "hearts").mkdir()
    (tmp_path / "hearts" / "a.csv").write_text("1\n", encoding="utf-8")
    asked: list[str] = []
    monkeypatch.setattr("pipelines.cli.share.is_terminal", lambda: True)
    monkeypatch.setattr("typer.confirm", lambda text: asked.append(text) or len(asked) == 2)
    words = ("store", "push", tmp_path / "hearts", tmp_path / "kept", "--reader", "acdc")
    with pytest.raises(ConfigError, match="--accept-licence"):
        run(*words)
    assert "1 files in" in run(*words).output
    assert asked == ["May you keep the data under these terms?"] * 2
