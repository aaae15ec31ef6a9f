from pathlib import Path

import pytest
import torch
import yaml

from pipelines.core.errors import ConfigError
from pipelines.models.bundle import (
    ACDC_BUNDLE,
    CORRECTOR,
    NETWORKS,
    XRAY_BUNDLE,
    XRAY_NETWORKS,
    bundle_of,
    config_files,
    load_config,
)


def test_layers_are_read_common_first_then_network_then_workflow() -> None:
    names = [Path(path).name for path in config_files("vnet", "train", "smoke")]
    assert names == ["common.yaml", "network_vnet.yaml", "train.yaml", "smoke.yaml"]


def test_each_network_belongs_to_one_bundle() -> None:
    assert {bundle_of(network) for network in (*NETWORKS, CORRECTOR)} == {ACDC_BUNDLE}
    assert {bundle_of(network) for network in XRAY_NETWORKS} == {XRAY_BUNDLE}


@pytest.mark.parametrize("network", [*NETWORKS, CORRECTOR, *XRAY_NETWORKS])
def test_the_arguments_file_of_a_network_names_the_same_layers(network: str) -> None:
    bundle = bundle_of(network)
    arguments = yaml.safe_load((bundle / "configs" / f"args_{network}.yaml").read_text(encoding="utf-8"))
    assert [str(bundle / path) for path in arguments["config_file"]] == config_files(network, "train")


def test_an_unknown_network_is_refused() -> None:
    hearts = "unet, attention_unet, vnet, corrector"
    radiographs = "efficientnet_lite0, resnet18_tuned, resnet18, resnet34, resnet50"
    with pytest.raises(ConfigError, match=f"a network among {hearts}, {radiographs}, found 'unet3d'"):
        config_files("unet3d")


def test_a_missing_layer_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a bundle with common.yaml, found none in"):
        config_files("unet", bundle=tmp_path)
    with pytest.raises(ConfigError, match="expected a bundle with fine_tune.yaml"):
        load_config("unet", ["fine_tune"])


@pytest.mark.parametrize("network", NETWORKS)
def test_a_network_takes_as_many_channels_as_there_are_slice_offsets(network: str) -> None:
    config = load_config(network)
    channels = len(config.get_parsed_content("slice_offsets"))
    module = config.get_parsed_content("network").eval()
    with torch.inference_mode():
        assert module(torch.zeros(1, channels, 32, 32)).shape == (1, 4, 32, 32)
    assert config.get_parsed_content("weights") == str(ACDC_BUNDLE / "models" / network / "model.pt")


def test_settings_replace_those_of_the_files_also_deep_ones() -> None:
    config = load_config("unet", ["train"], max_epochs=3, **{"network_def::filters": [4] * 5})
    assert config.get("max_epochs") == 3
    assert config.get_parsed_content("network_def").filters == [4] * 5
    assert config.get("bundle_root") == str(ACDC_BUNDLE)


@pytest.mark.parametrize(
    ("precision", "bf16_cpu", "dtype"),
    [
        ("auto", True, torch.bfloat16),
        ("auto", False, None),
        ("bf16", False, torch.bfloat16),
        ("fp32", True, None),
    ],
)
def test_precision_is_what_the_processor_does_fast_unless_set(
    monkeypatch: pytest.MonkeyPatch, precision: str, bf16_cpu: bool, dtype: torch.dtype | None
) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: bf16_cpu)
    config = load_config("unet", device="$torch.device('cpu')", precision=precision)
    assert config.get_parsed_content("autocast_dtype") == dtype


def test_a_gpu_runs_in_float16_unless_set() -> None:
    config = load_config("unet", device="$torch.device('cuda')")
    assert config.get_parsed_content("autocast_dtype") == torch.float16
    config = load_config("unet", device="$torch.device('cuda')", precision="fp32")
    assert config.get_parsed_content("autocast_dtype") is None
