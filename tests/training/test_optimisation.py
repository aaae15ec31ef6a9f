import math
from itertools import pairwise

import pytest
import torch
from timm.models import tf_efficientnet_lite0
from torch import Tensor
from torchvision.models import resnet18

from pipelines.core.errors import ConfigError
from pipelines.models.weights import stages
from pipelines.training.optimisation import (
    AutocastInferer,
    Decay,
    SegmentationLoss,
    make_optimizer,
    stage_groups,
    warmup_decay,
)


def quarters() -> Tensor:
    """Label `(2, 1, 4, 4)` with four pixels of each class in each slice."""
    return torch.arange(4).repeat_interleave(4).reshape(1, 1, 4, 4).repeat(2, 1, 1, 1)


def logits(label: Tensor, certainty: float = 50.0) -> Tensor:
    return certainty * torch.nn.functional.one_hot(label[:, 0], 4).movedim(-1, 1).float()


def test_a_perfect_prediction_costs_nothing() -> None:
    assert SegmentationLoss()(logits(quarters()), quarters()).item() == pytest.approx(0.0, abs=1e-5)


# Every class has probability 1/4. With n of N = 4 n pixels, Dice is 2 (n/4) / (N/4 + n) = 1/4;
# cross-entropy is ln 4.
@pytest.mark.parametrize("weight", [0.0, 1.0, 0.5])
def test_an_even_prediction_costs_what_a_hand_computes(weight: float) -> None:
    loss = SegmentationLoss(weight)(torch.zeros(2, 4, 4, 4), quarters())
    assert loss.item() == pytest.approx(0.75 + weight * math.log(4), abs=1e-4)


def test_a_wrong_certain_prediction_costs_all_of_dice() -> None:
    loss = SegmentationLoss(0.0)(logits((quarters() + 1) % 4), quarters())
    assert loss.item() == pytest.approx(1.0, abs=1e-4)


def test_heads_of_deep_supervision_count_half_as_much_each() -> None:
    heads = torch.stack((logits(quarters()), torch.zeros(2, 4, 4, 4), torch.zeros(2, 4, 4, 4)), dim=1)
    loss = SegmentationLoss()(heads, quarters())
    assert loss.item() == pytest.approx((0.5 + 0.25) * (0.75 + math.log(4)), abs=1e-4)
    main = SegmentationLoss()(heads.flip(1)[:, 1:], quarters())
    assert main.item() == pytest.approx(0.75 + math.log(4), abs=1e-4)


def test_dice_is_of_the_batch_so_that_a_slice_without_a_structure_does_not_count_against_it() -> None:
    label = quarters()
    label[1] = 0
    assert SegmentationLoss(0.0)(logits(label), label).item() == pytest.approx(0.0, abs=1e-5)
    # One pixel of LV too many in the empty slice: Dice of LV is 2 * 4 / (5 + 4) = 8/9.
    one_more = label.clone()
    one_more[1, 0, 0, 0] = 3
    loss = SegmentationLoss(0.0)(logits(one_more), label)
    assert loss.item() == pytest.approx((1 - 8 / 9) / 3, abs=1e-4)


def test_reduced_precision_is_lifted_to_float32() -> None:
    loss = SegmentationLoss()(logits(quarters(), 2.0).bfloat16().requires_grad_(), quarters())
    assert loss.dtype == torch.float32
    assert loss.requires_grad


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


def rates(steps: int, **settings: object) -> list[float]:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_decay(optimizer, **settings)  # type: ignore[arg-type]
    found = []
    for _ in range(steps + 1):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


@pytest.mark.parametrize(("decay", "middle"), [("poly", 2.0 * 0.5**0.9), ("cosine", 1.0)])
def test_the_rate_rises_to_its_peak_and_falls_to_zero(decay: Decay, middle: float) -> None:
    found = rates(100, iterations=100, warmup=10, decay=decay)
    assert found[:10] == pytest.approx([0.2 * step for step in range(1, 11)])
    assert found[10] == 2.0
    assert found[55] == pytest.approx(middle)
    assert found[100] == pytest.approx(0.0)
    assert all(later <= earlier for earlier, later in pairwise(found[10:]))


def test_a_quarter_of_a_cosine_is_as_by_hand() -> None:
    found = rates(100, iterations=101, warmup=1, decay="cosine")
    assert found[26] == pytest.approx(1 + math.cos(math.pi / 4))


def test_the_warm_up_of_a_short_run_is_a_tenth_of_it() -> None:
    assert rates(3, iterations=20, warmup=100)[:3] == pytest.approx([1.0, 2.0, 2.0])
    assert rates(0, iterations=1, warmup=100) == [2.0]


def test_the_rate_stays_at_zero_beyond_the_end() -> None:
    assert rates(8, iterations=5, warmup=0)[5:] == [0.0] * 4


def test_a_schedule_goes_on_from_its_state() -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=2.0)
    scheduler = warmup_decay(optimizer, iterations=100, warmup=10)
    scheduler.load_state_dict({**scheduler.state_dict(), "last_epoch": 54})
    optimizer.step()
    scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(2.0 * 0.5**0.9)


def test_another_decay_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected decay 'poly' or 'cosine', found 'step'"):
        rates(0, iterations=10, decay="step")


@pytest.mark.parametrize(("dtype", "found"), [(None, torch.float32), (torch.bfloat16, torch.bfloat16)])
def test_the_network_runs_in_the_precision_asked_for(dtype: torch.dtype | None, found: torch.dtype) -> None:
    output = AutocastInferer(dtype)(torch.ones(1, 2), torch.nn.Linear(2, 1))
    assert output.dtype == found


def test_nothing_outside_runs_in_reduced_precision() -> None:
    AutocastInferer(torch.bfloat16)(torch.ones(1, 2), torch.nn.Linear(2, 1))
    assert not torch.is_autocast_enabled("cpu")
    assert torch.nn.Linear(2, 1)(torch.ones(1, 2)).dtype == torch.float32


def test_the_inferer_within_is_given_everything() -> None:
    def inferer(inputs, network, *args, **kwargs):  # type: ignore[no-untyped-def]
        return network(inputs), args, kwargs

    output, args, kwargs = AutocastInferer(None, inferer)(torch.ones(1), torch.neg, 5, roi=3)
    assert (output.item(), args, kwargs) == (-1.0, (5,), {"roi": 3})


def test_grouped_convolutions_are_trained_in_float32_and_their_output_keeps_its_type() -> None:
    torch.manual_seed(0)
    layer = torch.nn.Conv2d(4, 4, 3, groups=4)
    image = torch.randn(1, 4, 8, 8)
    found = AutocastInferer(torch.bfloat16)(image, layer)
    assert torch.equal(found, layer(image))
    plain = torch.nn.Conv2d(4, 4, 3)
    assert AutocastInferer(torch.bfloat16)(image, plain).dtype == torch.bfloat16
    with torch.inference_mode():
        assert AutocastInferer(torch.bfloat16)(image, layer).dtype == torch.bfloat16
