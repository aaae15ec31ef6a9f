"""What the user is shown of an error from below."""

import json
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError, DataError, OutputError, cause, expecting
from pipelines.core.files import read_csv


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (None, "no such file"),
        (b"hello", "no JSON"),
        (b"\xff\xfe\x00", "no text in UTF-8"),
        (b"{}", "no 'cases' in it"),
        (b'{"cases": []}', "nothing in it"),
    ],
    ids=["missing", "text", "binary", "other", "empty"],
)
def test_a_file_that_does_not_fit_is_described_in_plain_words(
    text: bytes | None, expected: str, tmp_path: Path
) -> None:
    path = tmp_path / "metrics.json"
    if text is not None:
        path.write_bytes(text)
    with pytest.raises((OSError, ValueError, LookupError)) as raised:
        json.loads(path.read_text(encoding="utf-8"))["cases"][0]
    assert cause(raised.value) == expected


def test_a_folder_in_the_place_of_a_file_and_other_errors_are_described(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as raised:
        tmp_path.read_bytes()
    assert cause(raised.value) == "a folder"
    assert cause(PermissionError(13, "Permission denied")) == "permission denied"
    assert cause(ValueError("shape 3")) == "shape 3"
    assert cause(ValueError()) == "ValueError"


def test_a_file_is_named_with_what_it_should_hold_and_what_to_do(tmp_path: Path) -> None:
    with (
        pytest.raises(
            ConfigError, match=r"^expected a list in a\.json, found no 'images' in it; make it again$"
        ),
        expecting("a list in a.json", ConfigError, "make it again"),
    ):
        json.loads("{}")["images"]
    with pytest.raises(DataError, match="^expected a list, found no JSON$"), expecting("a list"):
        json.loads("")
    (tmp_path / "rows.csv").write_text("name\n" + 200_000 * "x", encoding="utf-8")
    with pytest.raises(DataError, match="^expected a table, found field larger"), expecting("a table"):
        read_csv(tmp_path / "rows.csv")


def test_errors_with_a_reason_of_their_own_keep_it() -> None:
    with pytest.raises(OutputError, match="^no space$"), expecting("a list"):
        raise OutputError("no space")
