"""The workflows of the chest X-ray bundle run, and agree with the package."""

import csv
import json
from pathlib import Path
from typing import Any

import monai.bundle
import numpy as np
import pytest
import torch

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.progress import progress_to
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare_xray import class_weights, load_or_prepare, prepare_chest_xray, select
from pipelines.datasets.torch_datasets import XrayDataset
from pipelines.datasets.xray_image import read_xray
from pipelines.models.bundle import XRAY_BUNDLE, XRAY_NETWORKS, load_config
from pipelines.models.xray import Classifier
from pipelines.training.launch import train_network
from pipelines.training.run_xray import start

SMALL = {"size_px": [64, 64], "batch_size": 8, "precision": "fp32", "head": [16], "warmup": 5}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("xray")
    write_phantom_xrays(root / "data", patients=60, images=1, side_px=96)
    prepare_chest_xray(root / "data", root / "prepared")
    return root / "prepared"


def run(
    workflow: str, network: str, overlays: list[str], monkeypatch: pytest.MonkeyPatch, **more: Any
) -> None:
    monkeypatch.chdir(XRAY_BUNDLE)
    layers = ["common", f"network_{network}", *overlays]
    files = [f"configs/{layer}.yaml" for layer in layers]
    monai.bundle.run(workflow, "initialize", config_file=files, **SMALL | more)


@pytest.mark.slow
@pytest.mark.parametrize("network", XRAY_NETWORKS)
def test_each_network_trains_is_evaluated_and_infers(
    network: str, prepared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "run"
    common = {"dataset_dir": str(prepared), "output_dir": str(folder)}
    run("training", network, ["train"], monkeypatch, **common, max_epochs=2)
    with (folder / "history.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    scores = ("loss", "accuracy", "balanced_accuracy", "precision", "recall", "f1", "auroc")
    assert {f"{part}_{score}" for part in ("train", "val") for score in scores} <= rows[1].keys()
    assert json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["finished"] is True
    assert 0 < json.loads((folder / "operating_point.json").read_text(encoding="utf-8"))["threshold"] < 1

    built = Classifier.load(network, weights=folder / "best.pt", precision="fp32")
    assert built.batch([np.zeros((90, 80), np.float32)]).shape == (1, 3, 64, 64)

    weights = {"weights": str(folder / "best.pt")}
    run("evaluating", network, ["train", "evaluate"], monkeypatch, **common, **weights)
    metrics = json.loads((folder / "evaluation" / "metrics.json").read_text(encoding="utf-8"))
    test = select(load_or_prepare(prepared, tmp_path), "test")
    assert [case["image"] for case in metrics["cases"]] == [item["image"] for item in test]
    assert (
        metrics["summary"]["threshold"]
        == json.loads((folder / "operating_point.json").read_text(encoding="utf-8"))["threshold"]
    )

    images = tmp_path / "images"
    images.mkdir()
    for case in metrics["cases"]:
        (images / Path(case["image"]).name).write_bytes(Path(case["image"]).read_bytes())
    output = {"dataset_dir": str(images), "output_dir": str(tmp_path / "out")}
    run("inferring", network, ["inference"], monkeypatch, **weights, **output)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as stream:
        found = {Path(name).name: float(pneumonia) for name, _, pneumonia in csv.reader(stream)}
    expected = {Path(case["image"]).name: case["probability"] for case in metrics["cases"]}
    assert found.keys() == expected.keys()
    for name, probability in expected.items():
        assert found[name] == pytest.approx(probability, abs=1e-4)


def test_a_resumed_run_goes_on_to_the_same_weights(prepared: Path, tmp_path: Path) -> None:
    settings = SMALL | {"max_epochs": 2, "ema_decay": 0.0}
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    train_network("resnet18", prepared, whole, **settings)

    def stop(done: int, total: int, text: str) -> None:
        if done > total // 2:
            raise RuntimeError("in the middle of the second epoch")

    with pytest.raises(RuntimeError, match="thorax_run.train|second epoch"), progress_to(stop):
        train_network("resnet18", prepared, parts, **settings)
    assert not (parts / "operating_point.json").exists()
    kept = (parts / "network.json").read_text(encoding="utf-8")
    with pytest.raises(ConfigError, match="expected an empty run folder"):
        train_network("resnet18", prepared, parts, **settings | {"head": [8]})
    assert (parts / "network.json").read_text(encoding="utf-8") == kept
    train_network("resnet18", prepared, parts, resume=True, **settings)
    first, second = (
        torch.load(folder / "last.pt", map_location="cpu", weights_only=False)["model"]
        for folder in (whole, parts)
    )
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_the_clock_ends_a_run_at_a_rate_of_nothing(prepared: Path, tmp_path: Path) -> None:
    train_network("resnet18", prepared, tmp_path / "run", overlays=["timed"], minutes=0.02, **SMALL)
    with (tmp_path / "run" / "history.csv").open(newline="") as stream:
        last = list(csv.DictReader(stream))[-1]
    assert int(last["epoch"]) < 1000
    assert float(last["learning_rate"]) == 0
    assert float(last["val_auroc"]) >= 0


def test_training_images_are_the_resized_files(prepared: Path) -> None:
    items = select(load_or_prepare(prepared, prepared), "validation")
    get = load_config("resnet18", size_px=[48, 40]).get_parsed_content
    dataset = XrayDataset(items, get("resize"))
    assert len(dataset) == len(items)
    sample = dataset[0]
    assert sample["image"].shape == (1, 48, 40)
    assert sample["image"].dtype == torch.uint8
    assert type(sample["image"]) is torch.Tensor
    assert sample["label"] == items[0]["label"]
    mean = read_xray(Path(items[0]["image"])).pixels.mean()
    assert float(sample["image"].float().mean()) / 255 == pytest.approx(mean, abs=0.01)


def test_the_input_of_the_network_is_the_same_in_training_and_in_use(prepared: Path) -> None:
    get = load_config("resnet18", ["train"], dataset_dir=str(prepared)).get_parsed_content
    item = select(load_or_prepare(prepared, prepared), "validation")[0]
    pixels = torch.from_numpy(read_xray(Path(item["image"])).pixels)[None]
    used = get("to_input")(get("resize")(pixels))
    bytes_in_memory = XrayDataset([item], get("resize"))[0]["image"][None]
    trained = get("to_input_keys")(get("to_float")({"image": bytes_in_memory}))["image"][0]
    assert used.shape == trained.shape == (3, 112, 112)
    assert np.allclose(used, trained, atol=0.5 / 255 / 0.226 + 1e-4)


def test_the_rarer_class_weighs_more() -> None:
    weights = class_weights([{"label": 0}] * 1 + [{"label": 1}] * 3)
    assert weights.tolist() == pytest.approx([1.5, 0.5])
    with pytest.raises(DataError, match=r"both classes, found \[2, 0\]"):
        class_weights([{"label": 0}] * 2)


def test_an_empty_section_is_reported() -> None:
    with pytest.raises(DataError, match="expected images in the test section"):
        select({"images": [{"part": "training"}]}, "test")


def test_pretrained_weights_that_do_not_exist_stop_the_start(tmp_path: Path) -> None:
    network = load_config("resnet18").get_parsed_content("network_def")
    with pytest.raises(ConfigError, match="expected ImageNet weights at"):
        start(
            network,
            "resnet18",
            pretrained=True,
            weights_file=str(tmp_path / "none.pth"),
        )


def test_another_networks_weights_do_not_fit_the_classifier(tmp_path: Path) -> None:
    network = load_config("resnet34").get_parsed_content("network_def")
    torch.save({"model": network.state_dict()}, tmp_path / "model.pt")
    with pytest.raises(ConfigError, match="expected weights of ResNet, found others"):
        Classifier.load("resnet18", weights=tmp_path / "model.pt")
