import re
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest

from pipelines.cohort.worker import PARTS_NAME, SCHEMA, forget_failed, read_results, write_part
from pipelines.core.errors import DataError


def row(study: str, finished: str = "2020-01-01", **values: Any) -> dict[str, Any]:
    return {"study": study, "paths": [study], "finished": finished, **values}


def test_parts_are_one_table_sorted_by_study(tmp_path: Path) -> None:
    write_part(tmp_path, "b", [row("z", lv_edv_ml=2.0), row("a", lv_edv_ml=1.0)])
    write_part(tmp_path, "a", [row("m")])
    table = read_results(tmp_path)
    assert table.column("study").to_pylist() == ["a", "m", "z"]
    assert table.column("lv_edv_ml").to_pylist() == [1.0, None, 2.0]


def test_study_in_two_parts_has_the_row_that_was_written_last(tmp_path: Path) -> None:
    write_part(tmp_path, "a", [row("s", "2020-01-02", lv_edv_ml=2.0)])
    write_part(tmp_path, "b", [row("s", "2020-01-01", lv_edv_ml=1.0)])
    assert read_results(tmp_path).column("lv_edv_ml").to_pylist() == [2.0]


def test_no_parts_are_an_empty_table(tmp_path: Path) -> None:
    assert read_results(tmp_path).num_rows == 0


def test_half_written_part_does_not_count(tmp_path: Path) -> None:
    part = write_part(tmp_path, "a", [row("s")])
    part.rename(part.with_name(".part-17-a.parquet"))
    assert read_results(tmp_path).num_rows == 0


def test_only_wanted_studies_are_read(tmp_path: Path) -> None:
    write_part(tmp_path, "a", [row("s"), row("t")])
    assert read_results(tmp_path, ["t", "u"]).column("study").to_pylist() == ["t"]


def test_failed_studies_are_forgotten_and_others_stay(tmp_path: Path) -> None:
    write_part(tmp_path, "a", [row("s"), row("t", error="no")])
    write_part(tmp_path, "b", [row("u", error="no")])
    write_part(tmp_path, "c", [row("v")])
    forget_failed(tmp_path)
    assert read_results(tmp_path).column("study").to_pylist() == ["s", "v"]
    assert not (tmp_path / PARTS_NAME / "b.parquet").exists()


def test_part_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / PARTS_NAME).mkdir()
    (tmp_path / PARTS_NAME / "a.parquet").write_bytes(b"no table")
    with pytest.raises(DataError, match=r"a\.parquet"):
        read_results(tmp_path)


def test_every_column_is_described_and_nothing_else() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/reference/indices.md"
    cells = re.findall(r"^\| (`[^|]*)\|", page.read_text(encoding="utf-8"), re.MULTILINE)
    described = re.findall("`([^`]*)`", "".join(cells))
    for column in SCHEMA.names:
        assert any(fnmatch(column, one) for one in described), column
    for one in described:
        assert any(fnmatch(column, one) for column in SCHEMA.names), one
