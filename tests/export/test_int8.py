"""The int8 model of a small network agrees with it, is small, and says what it misses."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from pipelines.core.errors import ConfigError
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import read_datalist
from pipelines.datasets.prepare_xray import prepare_chest_xray, select
from pipelines.datasets.xray_image import read_xray
from pipelines.export.int8 import quantize
from pipelines.export.int8_comparison import compare
from pipelines.export.quantize import quantize_and_compare
from pipelines.models.bundle import load_config
from pipelines.models.checkpoints import save_weights
from pipelines.models.classifier import Classifier
from pipelines.models.int8 import Int8Classifier
from pipelines.models.weights_sidecar import read_threshold, write_threshold


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(load_config("resnet18").get_parsed_content("network_def"), path)
    return path


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("int8")
    write_phantom_xrays(root / "data", patients=40, images=1, side_px=64)
    prepare_chest_xray(root / "data", root / "prepared")
    return root / "prepared"


@pytest.fixture(scope="module")
def classifier(weights: Path) -> Classifier:
    return Classifier.load("resnet18", weights=weights, device="cpu", precision="fp32")


@pytest.fixture(scope="module")
def inputs(prepared: Path, classifier: Classifier) -> list[Tensor]:
    items = select(read_datalist(prepared, kind="images"), "training")[:12]
    return [classifier.batch([read_xray(Path(item["image"])).pixels]) for item in items]


@pytest.fixture(scope="module")
def model(classifier: Classifier, inputs: list[Tensor], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return quantize(classifier, inputs, tmp_path_factory.mktemp("model"))


def test_the_model_is_four_times_smaller_and_nearly_the_same(
    classifier: Classifier, inputs: list[Tensor], model: Path, weights: Path
) -> None:
    assert {path.name for path in model.parent.iterdir()} == {"int8.xml", "int8.bin"}
    whole = sum(value.numel() * 4 for value in classifier.module.state_dict().values())
    assert sum(path.stat().st_size for path in model.parent.iterdir()) < whole / 3.8
    int8 = Int8Classifier.load("resnet18", model=model)
    for batch in (inputs[0], torch.cat(inputs[:3])):
        expected, found = classifier.logits(batch), int8.logits(batch)
        assert found.shape == expected.shape
        assert torch.allclose(found, expected, atol=0.1)
        assert not torch.equal(found, expected)


def test_images_of_any_size_get_a_probability(model: Path) -> None:
    int8 = Int8Classifier.load("resnet18", model=model)
    assert int8.threshold == 0.5
    images = [np.random.default_rng(0).random(shape, dtype=np.float32) for shape in ((90, 130), (224, 224))]
    together = int8.probabilities(images)
    assert together.shape == (2,)
    assert [int8.probability(image) for image in images] == pytest.approx(together.tolist(), abs=0.02)


def test_a_missing_or_damaged_model_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected an int8 model at .*make it by thorax benchmark int8"):
        Int8Classifier.load("resnet18", model=tmp_path / "int8.xml")
    (tmp_path / "int8.xml").write_text("no model", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a model that OpenVINO can run"):
        Int8Classifier.load("resnet18", model=tmp_path / "int8.xml")


@pytest.mark.parametrize("package", ["openvino", "nncf"])
def test_a_missing_package_is_named(
    package: str,
    classifier: Classifier,
    inputs: list[Tensor],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=r"pip install -c constraints\.txt -e '\.\[int8\]'"):
        quantize(classifier, inputs, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_calibration_images_are_refused(classifier: Classifier, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected training images"):
        quantize(classifier, [], tmp_path)


@pytest.mark.slow
def test_all_ways_are_compared_on_the_same_images(
    classifier: Classifier, inputs: list[Tensor], model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(module: torch.nn.Module) -> torch.nn.Module:
        raise RuntimeError("no compiler")

    monkeypatch.setattr(torch, "compile", broken)  # half a minute, and not everywhere
    truth = np.array([index % 2 for index in range(len(inputs))])
    content = compare(classifier, model, inputs, truth, tmp_path, rounds=2)
    assert set(content["runtimes"]) == {
        "PyTorch fp32",
        "PyTorch fp32, channels last",
        "PyTorch bf16",
        "PyTorch bf16, fused",
        "OpenVINO fp32",
        "OpenVINO bf16",
        "OpenVINO int8",
    }
    assert content["sizes"]["fp32_bytes"] / content["sizes"]["int8_bytes"] > 3.8
    for figures in content["runtimes"].values():
        assert 0 < figures["batch_1_ms"]["median"] <= figures["batch_1_ms"]["p95"]
        assert figures["batch_16_ms"]["median"] > 0
        assert figures["accuracy"] == pytest.approx(
            (figures["accuracy_normal"] + figures["accuracy_pneumonia"]) / 2
        )
    assert content["runtimes"]["PyTorch fp32"]["agreement"] == 1
    assert content["runtimes"]["PyTorch fp32, channels last"]["agreement"] == 1
    assert all(ratio > 0 for ratio in content["ratios"].values())
    assert (tmp_path / "quantization.json").is_file()
    assert not (tmp_path / ".part-fp32.pt").exists()


def test_the_job_calibrates_on_training_images_and_says_so(
    prepared: Path, weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrated: list[int] = []

    def quantize_none(classifier: Classifier, calibration: list[Tensor], output: Path) -> Path:
        calibrated.append(len(calibration))
        return output / "int8.xml"

    monkeypatch.setattr("pipelines.export.quantize.quantize", quantize_none)
    monkeypatch.setattr(
        "pipelines.export.quantize.compare", lambda *arguments, **_: {"images": len(arguments[2])}
    )
    write_threshold(weights.parent, 0.3)
    model, content = quantize_and_compare("resnet18", prepared, tmp_path, weights=weights)
    assert read_threshold(tmp_path) == 0.3
    datalist = read_datalist(prepared, kind="images")
    assert calibrated == [len(select(datalist, "training"))]
    assert content["images"] == len(select(datalist, "test"))
    assert model.name == "int8.xml"
    assert (tmp_path / "manifest.json").is_file()
