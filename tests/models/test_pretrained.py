from pathlib import Path

import pytest
import torch
from torchvision.models import ResNet18_Weights, resnet18

from pipelines.core.errors import ConfigError
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
    with pytest.raises(ConfigError, match="expected a weights file of torchvision"):
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
