import csv
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel as nib
import numpy as np
import pytest
import torch
from ignite.engine import Engine, Events
from monai.bundle import ConfigParser

from pipelines.core.errors import ConfigError
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, load_config
from pipelines.training.run import start, train

Settings = Callable[..., dict[str, Any]]


class KilledError(Exception):
    """Stands for an end that no handler sees coming."""


def train_small(settings: dict[str, Any], *, stop: Callable[[], None] | None = None) -> ConfigParser:
    """Train the UNet; `stop` is called in the middle of epoch 3."""
    config = load_config("unet", ["train"], **settings)
    config.get_parsed_content("initialize")
    if stop is not None:
        trainer = config.get_parsed_content("train#trainer")
        once = Events.ITERATION_COMPLETED(event_filter=lambda engine, event: engine.state.epoch == 3)
        trainer.add_event_handler(once, lambda _: stop())
    config.get_parsed_content("training")
    return config


def last(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = torch.load(folder / "last.pt", weights_only=False)
    return content


def same(first: Any, second: Any) -> bool:
    """Whether two nested states are equal to the last bit."""
    if isinstance(first, torch.Tensor):
        return torch.equal(first, second)
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[key], second[key]) for key in first)
    if isinstance(first, list | tuple):
        return len(first) == len(second) and all(map(same, first, second))
    return bool(first == second)


def kill() -> None:
    raise KilledError


def interrupt() -> None:
    # A process started in the background ignores the signal from birth.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.raise_signal(signal.SIGINT)


def test_an_interrupted_run_goes_on_to_the_same_weights(small: Settings, tmp_path: Path) -> None:
    settings = small("unet", max_epochs=4, val_interval=2)
    torch.rand(3)  # what was drawn before must not matter
    whole = train_small(settings | {"output_dir": str(tmp_path / "whole")}).get_parsed_content("network")
    for name, stop, error in (("sigint", interrupt, KeyboardInterrupt), ("kill", kill, KilledError)):
        parts = settings | {"output_dir": str(tmp_path / name)}
        with pytest.raises((error, RuntimeError)) as caught:
            train_small(parts, stop=stop)
        assert error in {type(caught.value), type(caught.value.__cause__)}
        assert last(tmp_path / name)["epoch"] == 2
        assert (
            json.loads((tmp_path / name / "manifest.json").read_text(encoding="utf-8"))["finished"] is False
        )
        resumed = train_small(parts | {"resume": True}).get_parsed_content("network")
        assert same(dict(whole.state_dict()), dict(resumed.state_dict()))
        assert same(last(tmp_path / "whole"), last(tmp_path / name))
        best = [torch.load(tmp_path / run / "best.pt", weights_only=True) for run in ("whole", name)]
        assert same(*best)
        tables = [(tmp_path / run / "history.csv").read_text(encoding="utf-8") for run in ("whole", name)]
        assert tables[0] == tables[1]


@pytest.mark.slow
def test_a_killed_process_leaves_a_run_that_goes_on_to_the_same(small: Settings, tmp_path: Path) -> None:
    settings = small("unet", max_epochs=3, val_interval=1)
    killed = settings | {"output_dir": str(tmp_path / "killed")}
    code = (
        "import json, os, signal, sys, torch\n"
        "from ignite.engine import Events\n"
        "from pipelines.models.bundle import load_config\n"
        "torch.set_num_threads(1)\n"
        "config = load_config('unet', ['train'], **json.loads(sys.argv[1]))\n"
        "config.get_parsed_content('initialize')\n"
        "in_epoch_3 = Events.ITERATION_COMPLETED(event_filter=lambda engine, _: engine.state.epoch == 3)\n"
        "kill = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "config.get_parsed_content('train#trainer').add_event_handler(in_epoch_3, kill)\n"
        "config.get_parsed_content('training')\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", code, json.dumps(killed)], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    assert last(tmp_path / "killed")["epoch"] == 2
    train_small(killed | {"resume": True})
    train_small(settings | {"output_dir": str(tmp_path / "whole")})
    assert same(last(tmp_path / "whole"), last(tmp_path / "killed"))


def test_the_seed_decides_the_first_weights(small: Settings) -> None:
    def first_weights(seed: int) -> torch.Tensor:
        config = load_config("unet", ["train"], **small("unet", seed=seed))
        config.get_parsed_content("initialize")
        network: torch.nn.Module = config.get_parsed_content("network")
        return torch.cat([value.flatten() for value in network.parameters()])

    assert torch.equal(first_weights(1), first_weights(1))
    assert not torch.equal(first_weights(1), first_weights(2))


@pytest.mark.parametrize("network", NETWORKS)
def test_each_network_trains_is_evaluated_and_infers(
    network: str, small: Settings, cohort: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ACDC_BUNDLE)
    settings = small(network)
    layers = ["configs/common.yaml", f"configs/network_{network}.yaml"]
    monai.bundle.run("training", "initialize", config_file=[*layers, "configs/train.yaml"], **settings)
    run = tmp_path / "run"
    with (run / "history.csv").open(newline="") as stream:
        (row,) = csv.DictReader(stream)
    scores = [f"val_{score}_{name}" for score in ("dice", "iou") for name in ("rv", "myo", "lv")]
    assert {"train_loss", "learning_rate", "val_mean_dice", "val_dice_loss", *scores} <= row.keys()
    manifest = json.loads((run / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["finished"] is True
    assert manifest["epochs"] == 1
    assert {"best.pt", "last.pt", "history.csv", "datalist.json"} <= set(manifest["outputs"])
    assert (
        manifest["split_hash"]
        == json.loads((run / "datalist.json").read_text(encoding="utf-8"))["split_hash"]
    )

    volumes = json.loads((run / "datalist.json").read_text(encoding="utf-8"))["volumes"]
    trained_on = {
        item["content_hash"] for item in volumes if item["part"] not in ("test", settings.get("fold", 0))
    }
    assert set(json.loads((run / "seen.json").read_text(encoding="utf-8"))["images"]) <= trained_on

    trained = settings | {"weights": str(run / "best.pt")}
    overlays = ["configs/train.yaml", "configs/evaluate.yaml"]
    monai.bundle.run("evaluating", "initialize", config_file=[*layers, *overlays], **trained)
    metrics = json.loads((run / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    assert len(metrics["cases"]) == 2
    assert metrics["seen_patients"] == []
    assert 0 <= metrics["summary"]["dice"]["mean"] <= 1

    folder = cohort / "training" / "patient001"
    monai.bundle.run(
        "inferring",
        "initialize",
        config_file=[*layers, "configs/inference.yaml"],
        **trained
        | {
            "dataset_dir": str(folder),
            "file_pattern": "*_frame0[0-9].nii.gz",
            "output_dir": str(tmp_path / "masks"),
        },
    )
    masks = sorted((tmp_path / "masks").iterdir())
    assert len(masks) == 2
    image = nib.load(folder / "patient001_frame01.nii.gz")
    mask = nib.load(masks[0])
    assert mask.shape == image.shape
    assert np.allclose(mask.affine, image.affine, atol=1e-3)
    assert mask.get_data_dtype() == np.uint8


def test_weights_to_start_from_are_loaded(tmp_path: Path) -> None:
    source, network = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
    torch.save(source.state_dict(), tmp_path / "model.pt")
    start(network, initial_weights=str(tmp_path / "model.pt"))
    assert torch.equal(network.weight, source.weight)
    with pytest.raises(ConfigError, match="expected weights at"):
        start(network, initial_weights=str(tmp_path / "missing.pt"))


def test_the_manifest_of_a_run_tells_data_and_settings(tmp_path: Path) -> None:
    seen: list[bool] = []
    trainer = Engine(lambda engine, batch: None)
    trainer.state.device = torch.device("cpu")
    trainer.state.max_epochs = 2
    trainer.run = lambda: seen.append(  # type: ignore[assignment]
        json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["finished"]
    )
    datalist = {"split_hash": "abc", "fingerprint": "def"}
    train(trainer, datalist, output_dir=tmp_path, seed=3, precision=torch.bfloat16)
    manifest = json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))
    assert seen == [False]
    assert (manifest["split_hash"], manifest["fingerprint"]) == ("abc", "def")
    assert (manifest["seed"], manifest["precision"], manifest["device"]) == (3, "torch.bfloat16", "cpu")
    assert manifest["seconds"] >= 0
