import inspect
import pydoc
from typing import Any

import pytest
from monai.bundle import ConfigComponent, verify_net_in_out

from pipelines.export.formats import network_metadata
from pipelines.models.bundle import ACDC_BUNDLE, CORRECTOR, NETWORKS, config_files, load_config


def verify(network: str, **overrides: Any) -> None:
    image = network_metadata(network)["network_data_format"]["inputs"]["image"]
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(ACDC_BUNDLE / "configs" / "metadata.json"),
        config_file=config_files(network),
        device="cpu",
        **{"_meta_#network_data_format#inputs#image#num_channels": image["num_channels"], **overrides},
    )


@pytest.mark.parametrize("network", NETWORKS)
def test_network_takes_and_gives_what_the_metadata_says(network: str) -> None:
    verify(network)


def test_default_network_needs_no_override_of_the_metadata() -> None:
    verify_net_in_out(
        net_id="network_def",
        meta_file=str(ACDC_BUNDLE / "configs" / "metadata.json"),
        config_file=config_files(NETWORKS[0]),
        device="cpu",
    )


def test_wrong_metadata_is_noticed() -> None:
    with pytest.raises(ValueError, match="output channel number"):
        verify("unet", **{"_meta_#network_data_format#outputs#pred#num_channels": 3})


@pytest.mark.parametrize("overlays", [[], ["timed"], ["multi_gpu_train"]], ids="-".join)
@pytest.mark.parametrize("network", [*NETWORKS, CORRECTOR])
def test_handlers_of_training_know_the_settings_that_overlays_give_them_by_number(
    network: str, overlays: list[str]
) -> None:
    for handler in load_config(network, ["train", *overlays]).get()["train"]["handlers"]:
        if isinstance(handler, dict):
            component = ConfigComponent(handler)
            kind: Any = pydoc.locate(component.resolve_module_name())
            inspect.signature(kind).bind(**component.resolve_args())
