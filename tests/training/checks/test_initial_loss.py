"""The untrained network is compared with what chance gives."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from small_cohort import COARSE, NARROW

from pipelines.training.checks.case import Case
from pipelines.training.checks.initial_loss import check_initial_loss


def test_expectation_is_the_formula_for_equal_probabilities(
    prepared: Path, make_case: Callable[..., Case]
) -> None:
    # One batch of all slices; the unet has three heads in training, of weights 1, 1/2 and 1/4.
    verdict = check_initial_loss(make_case(prepared, batch_size=6), 2)
    shares = verdict.details["class_shares"]
    assert sum(shares) == pytest.approx(1)
    dice = sum(2 * share / (1 + 4 * share) for share in shares[1:]) / 3
    assert verdict.details["expected"] == pytest.approx(1.75 * (math.log(4) + 1 - dice), rel=1e-4)
    assert verdict.passed
    assert verdict.details["seconds_per_step"] > 0


@pytest.mark.parametrize("network", ["attention_unet", "vnet"])
def test_the_other_networks_guess_as_well(
    network: str, prepared: Path, make_case: Callable[..., Case]
) -> None:
    case = make_case(prepared)
    settings = {**COARSE, **NARROW[network], "batch_size": 2}
    assert check_initial_loss(replace(case, network=network, settings=settings), 1).passed


def test_outputs_that_are_too_large_are_named(prepared: Path, make_case: Callable[..., Case]) -> None:
    loud = "$torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 1))"
    louder = f"{loud}.apply(lambda part: [weight.data.mul_(50) for weight in part.parameters()] and None)"
    verdict = check_initial_loss(make_case(prepared, network_def=louder), 2)
    assert not verdict.passed
    assert "its outputs are too large" in verdict.finding
