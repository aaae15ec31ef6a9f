"""The commands of cohorts, as far as they need neither Ray nor a network."""

import json
from pathlib import Path

import pytest
from bench_content import bench_content
from typer.testing import CliRunner, Result

from pipelines.benchmarks.cohorts import BENCH_NAME
from pipelines.cli.main import app
from pipelines.core.errors import ConfigError, DataError


def simulate(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(app, ["cohort", "simulate", str(folder), *options], env={"COLUMNS": "200"})


@pytest.fixture
def bench(tmp_path: Path) -> Path:
    (tmp_path / BENCH_NAME).write_text(json.dumps(bench_content()), encoding="utf-8")
    return tmp_path


def test_scale_is_simulated_with_the_users_machine_and_price(bench: Path) -> None:
    options = ["--studies", "8000", "--frames", "20", "--slices", "5", "--machine", "mine=8:0"]
    found = simulate(bench, *options, "--machines", "2", "--storage", "0", "--price", "3")
    assert found.exit_code == 0, found.output
    # 8 cores do 1000 studies of 10 s each in 2.8 hours after 30 s of start; two machines at 3 an hour.
    (row,) = (line for line in found.output.splitlines() if line.startswith("│"))
    assert [cell.strip() for cell in row.strip("│ \n").split("│")] == [
        "2",
        "8",
        "2.8",
        "22",
        "6",
        "0.04",
        "100%",
        "cores",
        "17",
    ]


def test_numbers_of_machines_that_make_no_sense_are_refused(bench: Path) -> None:
    for machines in ("ten", "0", "1,,2"):
        assert isinstance(simulate(bench, "--machines", machines).exception, ConfigError)


def test_folder_without_a_benchmark_is_refused(tmp_path: Path) -> None:
    assert isinstance(simulate(tmp_path).exception, DataError)


def test_address_without_workers_is_refused(tmp_path: Path) -> None:
    (tmp_path / "datalist.json").touch()
    words = ["train", "unet", "--data", str(tmp_path), "--output", str(tmp_path / "run")]
    found = CliRunner().invoke(app, [*words, "--address", "auto"])
    assert isinstance(found.exception, ConfigError)
    assert "--workers" in str(found.exception)
