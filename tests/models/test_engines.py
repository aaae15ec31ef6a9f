import copy
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from narrow_bundle import write_narrow_bundle
from torch import nn

from pipelines.core.errors import ConfigError
from pipelines.core.volume import Volume
from pipelines.datasets.prepare import fingerprint
from pipelines.export.formats import quantized
from pipelines.models.bundle import NETWORKS, load_config
from pipelines.models.engines import (
    INT8_NAME,
    Engine,
    compiled,
    engine_run,
    fused,
    save_openvino,
    to_openvino,
    weights_of,
)
from pipelines.models.heart import Member, Predictor


def network(name: str) -> nn.Module:
    """With statistics of batch norm that are not those of a new one."""
    torch.manual_seed(0)
    built: nn.Module = load_config(name).get_parsed_content("network_def").eval()
    for module in built.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)
            nn.init.uniform_(module.running_var, 0.5, 2)
    return built


@pytest.mark.parametrize("name", NETWORKS)
def test_each_network_gives_the_same_with_fewer_batch_norms(name: str) -> None:
    original = network(name)
    before = copy.deepcopy(original.state_dict())
    faster = fused(original)
    image = torch.randn(2, 4 if name == "vnet" else 3, 64, 64)
    with torch.inference_mode():
        expected, found = original(image), faster(image)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))
    left, had = (sum(isinstance(m, nn.BatchNorm2d) for m in n.modules()) for n in (faster, original))
    assert left < had / 4
    assert all(torch.equal(value, before[key]) for key, value in original.state_dict().items())


@pytest.mark.parametrize("name", NETWORKS)
def test_weights_take_the_type_and_batch_norms_keep_theirs(name: str) -> None:
    original = network(name)
    faster = fused(original, torch.bfloat16)
    for module in faster.modules():
        expected = torch.float32 if isinstance(module, nn.BatchNorm2d) else torch.bfloat16
        assert all(parameter.dtype == expected for parameter in module.parameters(recurse=False))
    image = torch.randn(1, 4 if name == "vnet" else 3, 64, 64)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        found, expected = faster(image).float(), original(image).float()
    assert (found - expected).abs().mean() < 0.05 * expected.abs().mean()
    assert all(parameter.dtype == torch.float32 for parameter in original.parameters())


@pytest.mark.parametrize("side", [64, 90])
def test_layers_of_timm_are_merged_too(side: int) -> None:
    original = network("efficientnet_lite0")
    faster = fused(original)
    image = torch.randn(2, 3, side, side + 6)
    with torch.inference_mode():
        expected, found = original(image), faster(image)
    assert torch.allclose(found, expected, atol=1e-4 * float(expected.abs().max()))
    assert not any(isinstance(module, nn.BatchNorm2d) for module in faster.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in original.modules())


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_narrow_bundle(tmp_path_factory.mktemp("engines") / "acdc")


@pytest.fixture(scope="module")
def volume() -> Volume:
    x, y, z = np.meshgrid(np.arange(90), np.arange(80), np.arange(3), indexing="ij")
    ring = np.abs(np.hypot(x - 40, y - 42) - 20) < 6
    array = (100 + 90 * ring + 4 * z + 10 * np.sin(x / 7)).astype(np.float32)
    return Volume(array, np.diag([2.0, 2.0, 8.0, 1.0]), (2.0, 2.0, 8.0))


def probabilities(bundle: Path, volume: Volume, network: str = "unet", **settings: str) -> np.ndarray:
    return Predictor.load(network, bundle=bundle, **settings).probabilities(volume)  # type: ignore[arg-type]


@pytest.mark.parametrize("network", ["unet", "attention_unet"])
def test_openvino_gives_the_probabilities_of_pytorch(network: str, bundle: Path, volume: Volume) -> None:
    expected = probabilities(bundle, volume, network, device="cpu", precision="fp32")
    predictor = Predictor.load(network, bundle=bundle, engine="openvino", precision="fp32")
    predictor.members[0].network = torch.nn.Identity()  # PyTorch's has no part in it
    np.testing.assert_allclose(predictor.probabilities(volume), expected, atol=2e-3)
    assert np.ptp(expected) > 0.1


def test_int8_beside_the_weights_is_used_and_is_not_far_off(
    bundle: Path, volume: Volume, tmp_path: Path
) -> None:
    weights = Path(shutil.copy(bundle / "models" / "unet" / "model.pt", tmp_path))
    member = Member.load("unet", bundle=bundle, weights=weights, precision="fp32")
    slices = member.prepare(volume).as_tensor().movedim(-1, 0)
    model = quantized(member.network, list(slices.split(1)), batch=1)
    save_openvino(model, tmp_path / INT8_NAME, weights=fingerprint(weights))
    settings = {"weights": weights, "precision": "fp32"}
    found = Predictor.load("unet", bundle=bundle, engine="int8", **settings).probabilities(volume)  # type: ignore[arg-type]
    expected = Predictor.load("unet", bundle=bundle, **settings).probabilities(volume)  # type: ignore[arg-type]
    assert 0 < np.abs(found - expected).max() < 0.2


def test_a_missing_int8_model_is_reported_with_how_to_make_it(bundle: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected an int8 model at .*int8\.xml, found none; make it by"):
        Predictor.load("unet", bundle=bundle, engine="int8")


def test_an_int8_model_of_other_weights_is_refused(bundle: Path, tmp_path: Path) -> None:
    weights = Path(shutil.copy(bundle / "models" / "unet" / "model.pt", tmp_path))
    model = to_openvino(torch.nn.Conv2d(3, 4, 1).eval(), torch.zeros(1, 3, 192, 192))
    save_openvino(model, tmp_path / INT8_NAME, weights="those of yesterday")
    assert weights_of(tmp_path / INT8_NAME) == "those of yesterday"
    with pytest.raises(ConfigError, match="found that of other"):
        Predictor.load("unet", bundle=bundle, weights=weights, engine="int8")


@pytest.mark.parametrize("engine", ["openvino", "int8"])
def test_another_device_than_the_cpu_is_refused(engine: Engine, tmp_path: Path) -> None:
    device = torch.device("cuda:0")
    with pytest.raises(ConfigError, match=f"expected the CPU for the engine {engine}, found cuda:0"):
        engine_run(engine, torch.nn.Identity(), tmp_path / "model.pt", (3, 8, 8), device, None)


def test_openvino_that_is_not_installed_is_named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(ConfigError, match=r"pip install -c constraints\.txt -e '\.\[int8\]'"):
        Predictor.load("unet", bundle=bundle, engine="openvino")


def test_a_model_for_one_image_takes_any_number_in_turn() -> None:
    module = torch.nn.Conv2d(3, 2, 3).eval()
    images = torch.randn(5, 3, 16, 16)
    run = compiled(to_openvino(module, images[:1], batch=1), INFERENCE_PRECISION_HINT="f32")
    with torch.inference_mode():
        torch.testing.assert_close(run(images), module(images), rtol=1e-4, atol=1e-4)


def test_a_model_is_written_whole_with_the_weights_it_is_of(tmp_path: Path) -> None:
    model = to_openvino(torch.nn.Conv2d(3, 2, 3).eval(), torch.zeros(1, 3, 16, 16))
    path = save_openvino(model, tmp_path / "new" / "model.xml", weights="abc")
    assert sorted(file.name for file in path.parent.iterdir()) == ["model.bin", "model.xml"]
    assert weights_of(path) == "abc"


def test_a_model_from_elsewhere_does_not_say_its_weights(tmp_path: Path) -> None:
    import openvino

    model = to_openvino(torch.nn.Conv2d(3, 2, 3).eval(), torch.zeros(1, 3, 16, 16))
    openvino.save_model(model, tmp_path / "model.xml")
    assert weights_of(tmp_path / "model.xml") is None
    (tmp_path / "broken.xml").write_text("no model", encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a model that OpenVINO can run"):
        weights_of(tmp_path / "broken.xml")


def test_a_signal_after_models_were_dropped_finds_its_handler() -> None:
    # OpenVINO 2026.4 alone ends by a segmentation fault here.
    code = (
        "import gc, signal, torch\n"
        "from pipelines.models.engines import compiled, to_openvino\n"
        "model = to_openvino(torch.nn.Conv2d(3, 2, 3).eval(), torch.zeros(1, 3, 16, 16))\n"
        "runs = [compiled(model), compiled(model)]\n"
        "while runs:\n"
        "    runs.pop(0)\n"
        "    gc.collect()\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "try:\n"
        "    signal.raise_signal(signal.SIGINT)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "interrupted\n"), done.stderr
