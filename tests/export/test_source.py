"""A user names a network, a bundle or a folder, and a contradiction is told."""

import json
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigError
from pipelines.export.source import Source, find_network, network_metadata
from pipelines.models.bundle import ACDC_BUNDLE, XRAY_BUNDLE


@pytest.mark.parametrize(
    ("name", "network", "expected"),
    [
        ("vnet", None, ("vnet", None)),
        ("vnet", "vnet", ("vnet", None)),
        ("acdc_segmentation", None, ("unet", ACDC_BUNDLE)),
        ("acdc_segmentation", "vnet", ("vnet", ACDC_BUNDLE)),
        ("chest_xray_classification", None, ("efficientnet_lite0", XRAY_BUNDLE)),
        (str(ACDC_BUNDLE), "attention_unet", ("attention_unet", ACDC_BUNDLE)),
    ],
)
def test_a_network_is_found_by_its_own_name_or_its_bundles(
    name: str, network: str | None, expected: tuple[str, Path | None]
) -> None:
    assert find_network(name, network) == expected


@pytest.mark.parametrize(
    ("name", "network", "message"),
    [
        ("unet", "vnet", "expected one network, found unet and --network vnet"),
        ("heart", None, "expected a bundle's folder or one of acdc_segmentation"),
        ("acdc_segmentation", "resnet18", "expected a network among unet, attention_unet, vnet"),
        ("acdc_segmentation", "corrector", "expected a network among"),
        ("corrector", None, "expected a bundle's folder or one of"),
    ],
)
def test_what_cannot_be_exported_is_told(name: str, network: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        find_network(name, network)


def test_the_corrector_is_no_source() -> None:
    with pytest.raises(ConfigError, match="found 'corrector'"):
        Source.load("corrector")


def test_metadata_tells_the_channels_of_each_network() -> None:
    images = [network_metadata(name)["network_data_format"]["inputs"]["image"] for name in ("unet", "vnet")]
    assert [image["num_channels"] for image in images] == [3, 4]
    assert images[1]["channel_def"]["3"] == "slice at offset 1"


def test_metadata_of_lungs_is_that_of_the_bundle() -> None:
    committed = json.loads((XRAY_BUNDLE / "configs" / "metadata.json").read_text(encoding="utf-8"))
    assert network_metadata("resnet18_tuned") == committed
