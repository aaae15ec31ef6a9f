import errno
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import OutputError
from pipelines.core.files import atomic_path, output_folder, write_csv, write_json, write_text


def disk_full(*args: object, **kwargs: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device")


def test_a_file_takes_its_name_when_whole(tmp_path: Path) -> None:
    with atomic_path(tmp_path / "new" / "mask.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("whole", encoding="utf-8")
        assert not (tmp_path / "new" / "mask.nii.gz").exists()
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["mask.nii.gz"]
    assert (tmp_path / "new" / "mask.nii.gz").read_text(encoding="utf-8") == "whole"


def test_a_folder_replaces_the_folder_before_it(tmp_path: Path) -> None:
    target = tmp_path / "case"
    for name in ("old", "new"):
        with atomic_path(target) as temporary:
            temporary.mkdir()
            (temporary / name).touch()
    assert [path.name for path in target.iterdir()] == ["new"]


@pytest.mark.parametrize("error", [ValueError("bug"), KeyboardInterrupt()])
def test_a_failed_block_leaves_what_was_there_and_nothing_else(tmp_path: Path, error: BaseException) -> None:
    path = tmp_path / "table.csv"
    path.write_text("old", encoding="utf-8")

    def write_half() -> None:
        with atomic_path(path) as temporary:
            temporary.write_text("half", encoding="utf-8")
            raise error

    with pytest.raises(type(error)):
        write_half()
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_an_output_error_and_leaves_nothing(tmp_path: Path) -> None:
    def write_half() -> None:
        with atomic_path(tmp_path / "table.csv") as temporary:
            temporary.write_text("half", encoding="utf-8")
            disk_full()

    with pytest.raises(OutputError, match=r"table\.csv: No space left on device; free some space"):
        write_half()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_while_writing_text_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "metrics.json"
    write_json(path, {"dice": 0.9})
    monkeypatch.setattr(Path, "write_text", disk_full)
    with pytest.raises(OutputError, match="No space left"):
        write_json(path, {"dice": 0.8})
    assert json.loads(path.read_text(encoding="utf-8")) == {"dice": 0.9}
    assert list(tmp_path.iterdir()) == [path]


def test_text_with_a_file_name_that_does_not_fit_into_utf8_is_written_with_escapes(tmp_path: Path) -> None:
    write_text(tmp_path / "a.txt", "M\udcfcller")
    assert (tmp_path / "a.txt").read_text(encoding="utf-8") == r"M\udcfcller"


def test_an_output_below_a_file_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="taken"):
        write_text(tmp_path / "taken" / "a.txt", "text")


def test_an_output_folder_is_made_with_its_parents(tmp_path: Path) -> None:
    assert output_folder(tmp_path / "a" / "b").is_dir()
    assert output_folder(tmp_path / "a" / "b") == tmp_path / "a" / "b"
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_file_is_no_output_folder(tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("", encoding="utf-8")
    with pytest.raises(OutputError, match="expected an output folder that can be written, found .*taken"):
        output_folder(tmp_path / "taken")


def test_a_read_only_folder_is_an_output_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read_only(*args: object, **kwargs: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("pipelines.core.files.tempfile.TemporaryFile", read_only)
    with pytest.raises(
        OutputError, match="Permission denied; choose another folder or change its permissions"
    ):
        output_folder(tmp_path)


def test_json_turns_what_it_cannot_hold_into_what_it_can(tmp_path: Path) -> None:
    content = {
        "nan": float("nan"),
        "inf": [float("-inf"), 1.5],
        "numpy": np.float32(np.nan),
        "array": np.array([[1, 2]]),
        "path": Path("a/b"),
        3: (True, None),
    }
    write_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == {
        "nan": None,
        "inf": [None, 1.5],
        "numpy": None,
        "array": [[1, 2]],
        "path": "a/b",
        "3": [True, None],
    }


def test_a_table_has_its_columns_in_order_and_empty_cells_for_what_is_missing(tmp_path: Path) -> None:
    write_csv(tmp_path / "table.csv", ["b", "a"], [{"a": 1, "b": None}, {"b": "x,y"}])
    assert (tmp_path / "table.csv").read_text(encoding="utf-8") == 'b,a\n,1\n"x,y",\n'
