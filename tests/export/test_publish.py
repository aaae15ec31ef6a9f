import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core.errors import ConfigError
from pipelines.datasets.prepare import fingerprint
from pipelines.export.command import publish_int8, publish_weights
from pipelines.export.formats import quantize
from pipelines.models.bundle import ACDC_BUNDLE, XRAY_BUNDLE, load_config
from pipelines.models.engines import save_openvino, to_openvino
from pipelines.models.weights import load_weights, save_weights, write_threshold
from pipelines.models.xray import Classifier, Int8Classifier
from pipelines.training.handlers import averaged_copy


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle of its own, so that the weights of the real one stay."""
    shutil.copytree(ACDC_BUNDLE / "configs", tmp_path / "bundle" / "configs")
    return tmp_path / "bundle"


def network(seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    module: torch.nn.Module = load_config("unet").get_parsed_content("network_def")
    return module


def write_run(folder: Path) -> tuple[torch.nn.Module, torch.nn.Module]:
    """A run whose best and last averaged weights differ; returns both."""
    folder.mkdir()
    best, last = network(0), network(1)
    save_weights(best, folder / "best.pt")
    torch.save({"averaged": averaged_copy(last).state_dict(), "model": {}}, folder / "last.pt")
    return best, last


@pytest.mark.parametrize("which", ["best", "last"])
def test_published_weights_are_the_chosen_ones_in_16_bits(which: str, tmp_path: Path, bundle: Path) -> None:
    best, last = write_run(tmp_path / "run")
    path = publish_weights(tmp_path / "run", "unet", which=which, bundle=bundle)  # type: ignore[arg-type]
    assert path == bundle / "models" / "unet" / "model.pt"
    expected = (best if which == "best" else last).state_dict()
    found = torch.load(path, weights_only=True)["model"]
    assert found.keys() == expected.keys()
    assert any("deep_supervision" in key or "super_head" in key for key in found)
    for key, value in found.items():
        assert value.dtype == (torch.float16 if expected[key].is_floating_point() else expected[key].dtype)
        torch.testing.assert_close(value.to(expected[key].dtype), expected[key], rtol=1e-3, atol=1e-6)


def test_published_file_is_half_the_size_and_loads_strictly(tmp_path: Path, bundle: Path) -> None:
    best, _ = write_run(tmp_path / "run")
    path = publish_weights(tmp_path / "run", "unet", bundle=bundle)
    assert path.stat().st_size < 2.2 * sum(weight.numel() for weight in best.parameters())
    load_weights(network(2), path)


def test_weight_too_large_for_16_bits_is_refused(tmp_path: Path, bundle: Path) -> None:
    best, _ = write_run(tmp_path / "run")
    with torch.no_grad():
        next(best.parameters()).fill_(1e6)
    save_weights(best, tmp_path / "run" / "best.pt")
    with pytest.raises(ConfigError, match="expected weights that fit 16 bits"):
        publish_weights(tmp_path / "run", "unet", bundle=bundle)
    assert not (bundle / "models").exists()


@pytest.mark.parametrize("which", ["best", "last"])
def test_run_without_the_checkpoint_is_an_error(which: str, tmp_path: Path, bundle: Path) -> None:
    with pytest.raises(ConfigError, match="found no"):
        publish_weights(tmp_path, "unet", which=which, bundle=bundle)  # type: ignore[arg-type]


@pytest.mark.parametrize("which", ["best", "last"])
def test_run_of_another_network_is_an_error(which: str, tmp_path: Path, bundle: Path) -> None:
    write_run(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"(weights|run) of VNet"):
        publish_weights(tmp_path / "run", "vnet", which=which, bundle=bundle)  # type: ignore[arg-type]


def test_an_int8_model_goes_beside_the_weights_with_its_threshold(tmp_path: Path) -> None:
    shutil.copytree(XRAY_BUNDLE / "configs", tmp_path / "bundle" / "configs")
    weights = tmp_path / "run" / "model.pt"
    save_weights(load_config("resnet18").get_parsed_content("network_def"), weights)
    made = tmp_path / "made"
    classifier = Classifier.load("resnet18", weights=weights, device="cpu")
    quantize(classifier, [torch.rand(1, 3, 112, 112)], made)
    write_threshold(made, 0.2)
    path = publish_int8(made, "resnet18", bundle=tmp_path / "bundle")
    assert path == tmp_path / "bundle" / "models" / "resnet18" / "int8.xml"
    found = Int8Classifier("resnet18", bundle=tmp_path / "bundle")
    assert found.threshold == 0.2
    image = np.random.default_rng(0).random((112, 112), dtype=np.float32)
    source = Int8Classifier("resnet18", model=made / "int8.xml")
    assert found.probability(image) == pytest.approx(source.probability(image), abs=1e-6)


def test_a_folder_without_an_int8_model_is_not_published(tmp_path: Path) -> None:
    shutil.copytree(XRAY_BUNDLE / "configs", tmp_path / "bundle" / "configs")
    with pytest.raises(ConfigError, match="expected an int8 model"):
        publish_int8(tmp_path, "resnet18", bundle=tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "models").exists()


def test_an_int8_model_of_a_heart_network_must_be_of_the_weights_in_the_bundle(
    tmp_path: Path, bundle: Path
) -> None:
    write_run(tmp_path / "run")
    weights = publish_weights(tmp_path / "run", "unet", bundle=bundle)
    model = to_openvino(torch.nn.Conv2d(3, 4, 1).eval(), torch.zeros(1, 3, 8, 8))
    save_openvino(model, tmp_path / "int8" / "int8.xml", weights="others")
    with pytest.raises(ConfigError, match="found that of other weights"):
        publish_int8(tmp_path / "int8", "unet", bundle=bundle)
    save_openvino(model, tmp_path / "int8" / "int8.xml", weights=fingerprint(weights))
    assert publish_int8(tmp_path / "int8", "unet", bundle=bundle) == weights.with_name("int8.xml")
    assert weights.with_name("int8.bin").read_bytes() == (tmp_path / "int8" / "int8.bin").read_bytes()
