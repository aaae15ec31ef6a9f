"""Engines take turns on the same images, and what cannot run is left out."""

import logging
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from narrow_bundle import write_narrow_bundle

from pipelines.benchmarks.engines import BASE, COMPILED, ONNX_RUNTIME, engines_of, export_sizes, time_engines
from pipelines.core.progress import progress_to
from pipelines.core.volume import Volume
from pipelines.models.heart import Prediction


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
    monkeypatch.setattr("pipelines.benchmarks.engines.time.perf_counter", lambda: clock.now)
    ways = {BASE: TimedPredictor(clock, 4.0), "fast": TimedPredictor(clock, 0.5)}
    told: list[tuple[int, int]] = []
    with progress_to(lambda done, total, text: told.append((done, total))):
        times = time_engines(ways, volume(2, 2, 2), volume(2, 2, 2, 3), rounds=2)  # type: ignore[arg-type]
    assert times["fast"].volume_ratio == times["fast"].network_ratio == times["fast"].cine_ratio == 8
    assert times[BASE].volume_ratio == 1
    assert times[BASE].cine_s == 12
    assert ways["fast"].seen == ways[BASE].seen == [0, 0, 0, 0, 1, 2]
    assert told[-1] == (6, 6)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    bundle = write_narrow_bundle(tmp_path_factory.mktemp("engines") / "acdc", networks=("unet",))
    return bundle / "models" / "unet" / "model.pt"


def test_what_cannot_run_here_is_left_out_and_reported(
    weights: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_compiler(*_: object) -> None:
        raise RuntimeError("no compiler")

    bundle = weights.parents[2]
    monkeypatch.setattr("pipelines.benchmarks.engines.bundle_of", lambda _: bundle)
    monkeypatch.setattr("torch.compile", no_compiler)
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with caplog.at_level(logging.WARNING):
        ways = engines_of("unet", weights, volume(64, 64, 2))
    assert list(ways) == [BASE, "PyTorch bf16", "OpenVINO fp32", "OpenVINO bf16"]
    assert f"{COMPILED} is left out: no compiler" in caplog.text
    assert "OpenVINO int8 is left out: expected an int8 model" in caplog.text
    assert f"{ONNX_RUNTIME} is left out" in caplog.text


def test_sizes_are_those_of_the_files_that_can_be_written(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    sizes = export_sizes("resnet18_tuned")
    assert list(sizes) == ["weights", "bundle", "torchscript", "openvino", "openvino-int8"]
    assert "onnx is left out" in caplog.text
    assert sizes["openvino-int8"] < 0.6 * sizes["openvino"] < sizes["torchscript"]
