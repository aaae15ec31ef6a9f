import pytest
import torch
from timm.models import tf_efficientnet_lite0
from torchvision.models import resnet18

from pipelines.core.errors import ConfigError
from pipelines.models.pretrained import stages
from pipelines.training.optimizers import make_optimizer, stage_groups


def test_adamw_has_its_settings() -> None:
    optimizer = make_optimizer("adamw", torch.nn.Linear(2, 1).parameters(), 0.01, 0.3)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    assert len(optimizer.param_groups[0]["params"]) == 2


def test_sgd_has_nesterov_momentum() -> None:
    optimizer = make_optimizer("sgd", torch.nn.Linear(2, 1).parameters(), 0.01, 0.3)
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.3)


def test_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected optimizer 'adamw' or 'sgd', found 'adam'"):
        make_optimizer("adam", torch.nn.Linear(2, 1).parameters(), 0.01, 0)


RATES = {"stem": 0.0, "layer1": 0.0, "layer2": 0.1, "layer3": 0.1, "layer4": 0.1, "fc": 1.0}


def test_each_stage_has_its_learning_rate_and_rate_0_freezes() -> None:
    network = resnet18(num_classes=2)
    groups = stage_groups(network, RATES, 0.01)
    assert [group["lr"] for group in groups] == pytest.approx([0.001, 0.001, 0.001, 0.01])
    trained = sum(len(group["params"]) for group in groups)
    assert trained == sum(weight.requires_grad for weight in network.parameters())
    assert not network.conv1.weight.requires_grad
    assert network.layer2[0].conv1.weight.requires_grad


def test_batch_norms_of_a_frozen_stage_keep_their_statistics() -> None:
    network = resnet18(num_classes=2)
    stage_groups(network, RATES, 0.01)
    before = network.bn1.running_mean.clone(), network.layer4[0].bn1.running_mean.clone()
    network.train()
    network(torch.rand(2, 3, 64, 64))
    assert torch.equal(network.bn1.running_mean, before[0])
    assert not torch.equal(network.layer4[0].bn1.running_mean, before[1])


def test_each_weight_of_lite0_is_in_one_stage() -> None:
    network = tf_efficientnet_lite0(num_classes=2)
    rates = {name: 1.0 + place for place, name in enumerate(stages(network))}
    assert list(rates) == ["stem", *(f"blocks.{number}" for number in range(7)), "conv_head", "classifier"]
    groups = stage_groups(network, rates, 0.1)
    rate_of = {id(weight): group["lr"] for group in groups for weight in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rate_of) == len(list(network.parameters()))
    assert rate_of[id(network.bn1.weight)] == pytest.approx(0.1)
    assert rate_of[id(network.blocks[1][0].bn2.bias)] == pytest.approx(0.3)
    assert rate_of[id(network.bn2.weight)] == pytest.approx(0.9)
    assert rate_of[id(network.classifier.bias)] == pytest.approx(1.0)


def test_frozen_stages_of_lite0_keep_weights_and_statistics() -> None:
    network = tf_efficientnet_lite0(num_classes=2)
    stage_groups(network, dict.fromkeys(stages(network), 1.0), 0.1, frozen=2)
    before = network.bn1.running_mean.clone(), network.blocks[1][0].bn1.running_mean.clone()
    network.train()
    network(torch.rand(2, 3, 64, 64))
    assert torch.equal(network.bn1.running_mean, before[0])
    assert not torch.equal(network.blocks[1][0].bn1.running_mean, before[1])
    assert not network.blocks[0][0].conv_dw.weight.requires_grad
    assert network.blocks[1][0].conv_dw.weight.requires_grad


def test_a_network_of_unknown_stages_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected one of torchvision's ResNets, .* found Linear"):
        stages(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    "rates", [{"fc": 1.0}, RATES | {"layer9": 1.0}, RATES | {"fc": -1.0}, dict.fromkeys(RATES, 0.0)]
)
def test_rates_that_do_not_fit_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected a rate of 0 or more for each of stem, layer1"):
        stage_groups(resnet18(num_classes=2), rates, 0.01)
