"""The benchmark measures what it says, at a small scale, and tells whether it is good enough."""

import io
import json
import logging
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch
from narrow_bundle import write_narrow_bundle
from rich.console import Console

from pipelines.benchmarks.speed import (
    BASE,
    SEGMENT,
    SHAPE,
    engines_of,
    export_sizes,
    run_bench,
    time_engines,
    time_segmentation,
    time_training_steps,
    usable_weights,
)
from pipelines.core.errors import ConfigError
from pipelines.core.progress import progress_to
from pipelines.core.volume import Volume, read_label
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.evaluation.memory import peak_memory_of
from pipelines.models.heart import Prediction
from pipelines.reporting.results.speed import bench_table

SMALL = {"batch_size": 2, "patch_px": [64, 64], "precision": "fp32"}


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("bench") / "cohort"
    write_phantom_cohort(root, patients=3, frames=3, cine=False)
    return root


def test_ratios_are_those_of_the_medians_without_the_first_round(
    cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = iter([9.0] * 5 + [0.11, 0.1, 0.05, 0.2, 0.33])
    monkeypatch.setattr("pipelines.benchmarks.speed._seconds", lambda *_: next(seconds))
    times = time_training_steps("unet", cohort, tmp_path, rounds=1, **SMALL)
    assert times["plain_ms"] == pytest.approx(330)
    assert times["pipeline_over_in_memory"] == pytest.approx(1.1)
    assert times["bf16_over_fp32"] == pytest.approx(0.25)
    assert times["throughput_over_plain"] == pytest.approx(3)


def test_first_round_is_a_warm_up_and_each_round_has_every_kind(cohort: Path, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    with progress_to(lambda done, total, text: told.append((done, total))):
        times = time_training_steps("unet", cohort, tmp_path, rounds=1, **SMALL)
    assert told == [(1, 2), (2, 2)]
    assert {"pipeline_ms", "in_memory_ms", "bf16_ms", "fp32_ms", "plain_ms"} < set(times)
    assert min(times.values()) > 0


def test_segmented_volume_has_the_size_that_is_promised(cohort: Path, tmp_path: Path) -> None:
    image = cohort / "training" / "patient001" / "patient001_frame01.nii.gz"
    weights, _ = usable_weights(tmp_path)
    times = time_segmentation(image, weights, tmp_path, rounds=1)
    mask = read_label(tmp_path / "volume_seg.nii.gz")
    assert mask.array.shape == SHAPE == (256, 216, 10)
    assert mask.spacing_mm == pytest.approx((1.5625, 1.5625, 10.0))
    assert sum(times["stages_s"].values()) <= times["segment_s"] * 1.05
    assert min(times["read_s"], times["write_s"]) > 0


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


@dataclass
class Clock:
    """A clock that only these predictors move on."""

    now: float = 0.0


@dataclass
class TimedPredictor:
    """Takes a number of seconds for a volume, the half of them in the network."""

    clock: Clock
    seconds: float
    seen: list[int] = field(default_factory=list)

    def predict(self, volume: Volume) -> Prediction:
        self.seen.append(int(volume.array.flat[0]))
        self.clock.now += self.seconds
        return Prediction(np.zeros(volume.array.shape, dtype=np.uint8), {"network": self.seconds / 2})


def volume(*shape: int) -> Volume:
    return Volume(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), np.eye(4), (1.0, 1.0, 1.0))


def test_ratios_are_those_of_turns_on_the_same_images(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    monkeypatch.setattr("pipelines.benchmarks.speed.time.perf_counter", lambda: clock.now)
    ways = {BASE: TimedPredictor(clock, 4.0), "fast": TimedPredictor(clock, 0.5)}
    told: list[tuple[int, int]] = []
    with progress_to(lambda done, total, text: told.append((done, total))):
        times = time_engines(ways, volume(2, 2, 2), volume(2, 2, 2, 3), rounds=2)  # type: ignore[arg-type]
    assert {times["fast"][f"{part}_ratio"] for part in ("volume", "network", "cine")} == {8}
    assert times[BASE]["volume_ratio"] == 1
    assert times[BASE]["cine_s"] == 12
    assert ways["fast"].seen == ways[BASE].seen == [0, 0, 0, 0, 1, 2]
    assert told[-1] == (6, 6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = write_narrow_bundle(tmp_path_factory.mktemp("engines") / "acdc", networks=("unet",))
    return bundle / "models" / "unet" / "model.pt"


def test_what_cannot_run_here_is_left_out_and_reported(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    bundle = weights.parents[2]
    monkeypatch.setattr("pipelines.benchmarks.speed.bundle_of", lambda _: bundle)
    with caplog.at_level(logging.WARNING):
        ways = engines_of("unet", weights, volume(64, 64, 2))
    assert list(ways) == [BASE, "PyTorch bf16", "OpenVINO fp32", "OpenVINO bf16"]
    assert "OpenVINO int8 is left out: expected an int8 model" in caplog.text


def test_sizes_are_those_of_the_files_that_can_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    sizes = export_sizes("resnet18_tuned")
    assert list(sizes) == ["weights", "bundle", "torchscript", "openvino", "openvino-int8"]
    assert "onnx is left out" in caplog.text
    assert sizes["openvino-int8"] < 0.6 * sizes["openvino"] < sizes["torchscript"]


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
    assert set(content["engines"]["unet"]) >= {"PyTorch fp32", "PyTorch bf16", "OpenVINO fp32"}
    assert content["engines"]["unet"]["PyTorch fp32"]["cine_ratio"] == 1
    assert set(content["exports"]) == {"unet", "efficientnet_lite0"}
    assert content["exports"]["unet"]["onnx"] > 1.9 * content["exports"]["unet"]["bundle"]
    assert content["radiographs"]["throughput_over_plain"] > 0.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bench.json", "manifest.json"]
