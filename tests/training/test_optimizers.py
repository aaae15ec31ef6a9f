import pytest
import torch
from torchvision.models import resnet18

from pipelines.core.errors import ConfigError
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


@pytest.mark.parametrize(
    "rates", [{"fc": 1.0}, RATES | {"layer9": 1.0}, RATES | {"fc": -1.0}, dict.fromkeys(RATES, 0.0)]
)
def test_rates_that_do_not_fit_are_refused(rates: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="expected a rate of 0 or more for each of stem, layer1"):
        stage_groups(resnet18(num_classes=2), rates, 0.01)
