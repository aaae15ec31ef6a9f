"""The benchmark measures what it says, at a small scale, and tells whether it is good enough."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from pipelines.benchmarks.engines import SHAPE, time_segmentation, usable_weights
from pipelines.benchmarks.speed import SEGMENT, StepTimes, run_bench, time_training_steps
from pipelines.core.errors import ConfigError
from pipelines.core.progress import progress_to
from pipelines.core.volume import read_label
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.evaluation.memory import peak_memory_of
from pipelines.reporting.results.speed import bench_table

SMALL = {"batch_size": 2, "patch_px": [64, 64], "precision": "fp32"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench") / "cohort"
    write_phantom_cohort(root, patients=3, frames=3, cine=False)
    return root


def test_ratios_are_those_of_the_medians() -> None:
    times = StepTimes(pipeline_ms=110.0, in_memory_ms=100.0, bf16_ms=50.0, fp32_ms=200.0, plain_ms=330.0)
    assert times.pipeline_over_in_memory == pytest.approx(1.1)
    assert times.bf16_over_fp32 == pytest.approx(0.25)
    assert times.throughput_over_plain == pytest.approx(3)


def test_first_round_is_a_warm_up_and_each_round_has_every_kind(cohort: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with progress_to(lambda done, total, text: told.append((done, total))):
        times = time_training_steps("unet", cohort, tmp_path, rounds=1, **SMALL)
    assert told == [(1, 2), (2, 2)]
    assert min(times.pipeline_ms, times.in_memory_ms, times.bf16_ms, times.fp32_ms, times.plain_ms) > 0


def test_segmented_volume_has_the_size_that_is_promised(cohort: Path, tmp_path: Path) -> None:
    image = cohort / "training" / "patient001" / "patient001_frame01.nii.gz"
    weights, _ = usable_weights(tmp_path)
    times = time_segmentation(image, weights, tmp_path, rounds=1)
    mask = read_label(tmp_path / "volume_seg.nii.gz")
    assert mask.array.shape == SHAPE == (256, 216, 10)
    assert mask.spacing_mm == pytest.approx((1.5625, 1.5625, 10.0))
    assert sum(times.stages_s.values()) <= times.segment_s * 1.05
    assert min(times.read_s, times.write_s) > 0


def own_peak_of(program: str) -> float:
    """MB that a new process tells after `program`."""
    script = (
        f"import sys, numpy as np; from pipelines.evaluation.memory import own_peak_memory_mb; {program}; "
    )
    script += "sys.stdout.write(str(own_peak_memory_mb()))"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, encoding="utf-8", check=True)
    return float(run.stdout)


def test_peak_memory_counts_what_was_freed_again() -> None:
    freed = own_peak_of("block = np.ones(40_000_000); del block")  # 320 MB
    assert freed - own_peak_of("pass") > 300


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="needs /proc/self/status")
def test_peak_memory_of_a_small_process_does_not_hold_that_of_its_parent() -> None:
    block = np.ones(100_000_000)  # 800 MB
    assert own_peak_of("pass") < 0.9 * block.nbytes / 1e6


def test_a_job_that_fails_is_reported_with_its_last_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected 'segment_cine' to run .*weights"):
        peak_memory_of(SEGMENT, tmp_path / "no.pt", tmp_path, tmp_path / "out", result=tmp_path / "m.json")


@pytest.mark.slow
def test_bench_writes_what_it_shows(tmp_path: Path) -> None:
    text = io.StringIO()
    content = run_bench(
        tmp_path, networks=["unet"], rounds=1, frames=3, console=Console(file=text, width=140)
    )
    assert json.loads((tmp_path / "bench.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(content)
    )
    assert content["threads"] == torch.get_num_threads()
    assert 100 < content["training"]["unet"]["peak_mb"] < 6000
    assert 100 < content["segmentation"]["cine_peak_mb"] < 3000
    assert "unet: step in bf16 / fp32" in [row[0] for row in bench_table(content).rows]
    assert min(content["serving"]["request_s"], content["serving"]["bare_s"]) > 0
    assert content["serving"]["start_s"] > 0
    assert set(content["engines"]["unet"]) > {"PyTorch fp32", "PyTorch bf16", "OpenVINO fp32"}
    assert content["engines"]["unet"]["PyTorch fp32"]["cine_ratio"] == 1
    assert set(content["exports"]) == {"unet", "efficientnet_lite0"}
    assert content["exports"]["unet"]["onnx"] > 1.9 * content["exports"]["unet"]["bundle"]
    assert content["radiographs"]["throughput_over_plain"] > 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "manifest.json"]
