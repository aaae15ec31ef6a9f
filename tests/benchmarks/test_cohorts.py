"""Arithmetic of the benchmark of cohorts; the whole of it runs among the documented commands."""

from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from bench_content import bench_content
from cohort_stand_ins import StandInModel, write_hearts
from report_folders import page_of
from rich.console import Console

from pipelines.benchmarks import cohorts
from pipelines.benchmarks.cohorts import _cost, _plain, _working_s, run_cohort_bench
from pipelines.core.errors import ConfigError
from pipelines.reporting.results.scale import cohort_values
from pipelines.reporting.results.speed import targets_table

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


def test_figures_of_a_benchmark_fill_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's part is given here, the rest is measured."""
    monkeypatch.setattr(cohorts, "HEARTS", 1)
    monkeypatch.setattr(cohorts, "local_cluster", lambda nodes: nullcontext(SimpleNamespace(address="none")))
    monkeypatch.setattr(
        cohorts,
        "_on_ray",
        lambda volumes, output, model, workers, address: bench_content()["ray"][str(workers)],
    )
    monkeypatch.setattr(cohorts, "_with_a_loss", lambda *_: bench_content()["lost_node"])
    content = run_cohort_bench(
        tmp_path / "bench",
        volumes=4,
        frames=3,
        cines=1,
        model=StandInModel(),
        console=Console(quiet=True),
    )
    assert content["plain"]["studies"] == 4
    assert content["overhead"] == pytest.approx(202.0 / content["plain"]["loop_s"] - 1)
    assert content["efficiency"] == pytest.approx(202.0 / (2 * 106.05))
    assert content["cine"]["shape"][3] == 3
    assert content["cine"]["unpacked_bytes"] > content["cine"]["cost"]["bytes_read"]
    text = page_of(tmp_path / "docs", tmp_path / "bench")
    assert "| plain loop, 4 volumes |" in text
    assert len(targets_table(cohort_values(content)).rows) == len(cohort_values(content))
