import copy

import pytest
import torch
from torch import nn

from pipelines.models.bundle import NETWORKS, load_config
from pipelines.models.fuse import fused


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
