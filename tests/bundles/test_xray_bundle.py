"""The chest X-ray bundle keeps MONAI's rules and what its card promises."""

import json

import pytest
import torch
from monai.bundle import verify_net_in_out
from torchvision.models import resnet18

from pipelines.models.bundle import XRAY_BUNDLE, XRAY_NETWORKS, config_files, load_config

METADATA = XRAY_BUNDLE / "configs" / "metadata.json"


@pytest.mark.parametrize("network", XRAY_NETWORKS)
def test_network_takes_and_gives_what_the_metadata_says(network: str) -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(METADATA),
        config_file=config_files(network),
        device="cpu",
    )


def test_everything_but_the_head_is_torchvisions() -> None:
    network = load_config("resnet18").get_parsed_content("network_def")
    own = {key: value.shape for key, value in network.state_dict().items() if not key.startswith("fc.")}
    theirs = {key: value.shape for key, value in resnet18().state_dict().items() if not key.startswith("fc.")}
    assert own == theirs


@pytest.mark.parametrize("hidden", [[], [32], [64, 16]])
def test_the_head_is_configurable(hidden: list[int]) -> None:
    network = load_config("resnet18", head=hidden, dropout=0.5).get_parsed_content("network_def").eval()
    linear = [module for module in network.fc.modules() if isinstance(module, torch.nn.Linear)]
    assert [layer.out_features for layer in linear] == [*hidden, 2]
    dropouts = [module for module in network.fc.modules() if isinstance(module, torch.nn.Dropout)]
    assert [module.p for module in dropouts] == [0.5] * len(hidden)
    assert network(torch.rand(2, 3, 64, 64)).shape == (2, 2)


def test_class_names_and_channels_agree() -> None:
    metadata = json.loads(METADATA.read_text(encoding="utf-8"))
    channels = metadata["network_data_format"]["outputs"]["pred"]["channel_def"]
    assert list(channels.values()) == load_config("resnet18").get_parsed_content("classes")


def test_licences_and_the_list_of_large_files_are_there() -> None:
    for name in ("LICENSE", "large_files.yml", "docs/README.md", "docs/data_license.txt"):
        assert (XRAY_BUNDLE / name).is_file(), name
