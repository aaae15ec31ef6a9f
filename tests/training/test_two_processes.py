"""Two processes that train together, by torchrun and by Ray Train, against one process."""

import csv
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from pipelines.core.errors import ConfigError
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import prepare_acdc
from pipelines.datasets.prepare_xray import prepare_chest_xray
from pipelines.models.bundle import ACDC_BUNDLE, config_files, load_config
from pipelines.models.weights import load_weights
from pipelines.training.distributed import OVERLAY, STATE_NAME, WorkerOptions, train_by_workers
from pipelines.training.launch import train_network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SETTINGS: Mapping[str, Any] = {
    "precision": "fp32",
    "learning_rate": 0.02,  # a few steps at the peak of a long training differ by more than this test can see
    "max_epochs": 4,
    "val_interval": 4,
    "warmup": 5,
    "patch_px": [64, 64],
}
GLOBAL_BATCH = 8
EPOCHS = 6  # so many that a process can be killed before the end


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("two")
    write_phantom_cohort(root / "acdc", patients=5, frames=3, cine=False)
    prepare_acdc(root / "acdc", root / "prepared")
    return root / "prepared"


def losses(run: Path) -> list[float]:
    with (run / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["epoch"]) for row in rows] == list(range(1, len(rows) + 1))
    return [float(row["train_loss"]) for row in rows]


def torchrun(prepared: Path, run: Path) -> None:
    """The documented command."""
    files = [f"configs/{Path(file).name}" for file in config_files("unet", "train", OVERLAY)]
    words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    words += ["-m", "monai.bundle", "run", "training", "--config_file", str(files)]
    values = {**SETTINGS, "dataset_dir": prepared, "output_dir": run, "batch_size": GLOBAL_BATCH // 2}
    for name, value in values.items():
        words += [f"--{name}", str(value)]
    done = subprocess.run(words, cwd=ACDC_BUNDLE, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 0, done.stderr[-3000:]


def validated(prepared: Path, run: Path) -> float:
    """Mean Dice on all validation volumes in one process, of the weights that two have left."""
    parser = load_config("unet", ["train"], dataset_dir=str(prepared), output_dir=str(run / "again"))
    parser.update({"precision": "fp32"})
    evaluator = parser.get_parsed_content("validate#evaluator")
    load_weights(evaluator.network, run / "best.pt")
    with torch.no_grad():
        evaluator.run()
    return float(evaluator.state.metrics["val_mean_dice"])


def test_two_processes_learn_like_one_with_the_same_global_batch(prepared: Path, tmp_path: Path) -> None:
    torchrun(prepared, tmp_path / "two")
    two = losses(tmp_path / "two")
    single = []
    for seed in range(3):
        run = tmp_path / f"one{seed}"
        train_network("unet", prepared, run, **{**SETTINGS, "batch_size": GLOBAL_BATCH, "seed": seed})
        single.append(losses(run))
    for epoch, found in enumerate(two):
        of_one = [curve[epoch] for curve in single]
        noise = max(max(of_one) - min(of_one), 0.05 * max(of_one))
        assert min(of_one) - noise <= found <= max(of_one) + noise
    assert two[-1] < 0.9 * two[0]
    with (tmp_path / "two" / "history.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    # Each process has segmented one of the two volumes.
    assert float(last["val_mean_dice"]) == pytest.approx(validated(prepared, tmp_path / "two"), abs=1e-3)


def test_run_on_ray_goes_on_after_a_worker_was_killed(tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the extra 'cluster' is not installed")
    write_phantom_xrays(tmp_path / "data", patients=40, images=1, side_px=48)
    prepare_chest_xray(tmp_path / "data", tmp_path / "prepared")
    run, killed = tmp_path / "run", threading.Event()

    def kill_after_an_epoch() -> None:
        until = time.monotonic() + 900
        while time.monotonic() < until and not (run / "last.pt").is_file():
            time.sleep(0.02)
        for child in psutil.Process().children(recursive=True):
            if "RayTrainWorker" in " ".join(child.cmdline()):
                child.kill()
                killed.set()
                return

    thread = threading.Thread(target=kill_after_an_epoch, daemon=True)
    thread.start()
    small = {"size_px": [32, 32], "batch_size": 4, "precision": "fp32", "head": [], "warmup": 2}
    options = WorkerOptions(workers=2)
    best = train_by_workers(
        "resnet18", tmp_path / "prepared", run, options, **small, max_epochs=EPOCHS, patience=EPOCHS
    )
    thread.join()
    assert killed.is_set()
    assert best.is_file()
    assert len(losses(run)) == EPOCHS
    assert torch.load(run / "last.pt", weights_only=False)["epoch"] == EPOCHS
    # The first process was started again, and went on with the run that was there.
    assert len(list((run / "tensorboard").glob("events.*"))) >= 2
    assert (run / "operating_point.json").is_file()
    assert not (run / STATE_NAME).exists()


def test_run_that_does_not_fit_is_refused_before_ray_starts(prepared: Path, tmp_path: Path) -> None:
    options = WorkerOptions(workers=2)
    with pytest.raises(ConfigError, match="start without --resume"):
        train_by_workers("unet", prepared, tmp_path / "none", options, resume=True)
    with pytest.raises(ConfigError, match="max_epoch"):
        train_by_workers("unet", prepared, tmp_path / "typo", options, max_epoch=1)
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "last.pt").touch()
    with pytest.raises(ConfigError, match="go on with it by --resume"):
        train_by_workers("unet", prepared, tmp_path / "run", options)
