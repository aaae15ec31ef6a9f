"""Arithmetic of the benchmark of cohorts; the whole of it runs among the documented commands."""

from pathlib import Path

import pytest
from cohort_stand_ins import StandInModel, write_hearts

from pipelines.benchmarks.cohorts import _cost, _plain, _working_s
from pipelines.errors import ConfigError

ROW = {
    "error": None,
    "seconds": 2.0,
    "read_s": 0.5,
    "predict_s": 1.0,
    "bytes_read": 10,
    "bytes_written": 4,
    "finished": "2020-01-01T00:00:10+00:00",
}


def test_working_time_is_from_the_first_begin_to_the_last_end() -> None:
    # The first study began at 8 s, the other one ended at 13 s.
    assert _working_s([ROW, ROW | {"seconds": 1.0, "finished": "2020-01-01T00:00:13+00:00"}]) == 5.0


def test_cost_is_the_mean_of_the_studies() -> None:
    found = _cost([ROW, ROW | {"seconds": 4.0, "read_s": 1.5, "bytes_read": 30}])
    assert found["study_s"] == 3.0
    assert found["cost"] == {
        "bytes_read": 20,
        "read_s": 1.0,
        "compute_s": 1.0,
        "other_s": 1.0,
        "bytes_written": 4,
    }


def test_generated_study_that_fails_is_no_figure() -> None:
    with pytest.raises(ConfigError, match="no such heart"):
        _cost([ROW, ROW | {"error": "no such heart"}])


def test_plain_loop_does_what_workers_do(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 3)
    found = _plain(tmp_path / "in", tmp_path / "out", StandInModel(seconds=0.02))
    assert found["studies"] == 3
    # Two frames a study, each 0.02 s.
    assert found["cost"]["compute_s"] >= 0.04
    assert found["loop_s"] >= 3 * found["study_s"]
    assert len(list((tmp_path / "out" / "masks").rglob("*_seg.nii.gz"))) == 3
