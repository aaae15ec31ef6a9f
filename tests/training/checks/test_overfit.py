"""A handful of slices is learnt by heart, or the reason is named."""

from collections.abc import Callable
from pathlib import Path

from pipelines.training.checks.case import Case
from pipelines.training.checks.overfit import check_overfit

WIDER = {"network_def::filters": [8, 8, 16, 16, 16], "optimizer": "adamw", "learning_rate": 0.01}


def test_a_handful_is_learnt_by_heart(prepared: Path, make_case: Callable[..., Case]) -> None:
    verdict = check_overfit(make_case(prepared, **WIDER), 150)
    assert verdict.passed, verdict.finding
    assert verdict.figure is not None
    assert verdict.figure <= 0.1 * verdict.details["chance"]


def test_a_rate_that_is_too_high_is_named_with_one_that_works(
    prepared: Path, make_case: Callable[..., Case]
) -> None:
    verdict = check_overfit(make_case(prepared, **WIDER | {"learning_rate": 3.0}), 40)
    assert not verdict.passed
    assert verdict.finding.startswith("the learning rate is too high: with 3 ")
    assert "lower learning_rate" in verdict.finding
