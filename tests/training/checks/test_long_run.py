"""A loss that stops falling is noticed."""

import pytest

from pipelines.training.checks.long_run import stops_falling


@pytest.mark.parametrize(
    ("losses", "stalled"),
    [
        ([3.0, 2.0, 1.0], False),
        ([4.0, 4.0, 1.0, 1.0, 0.99, 0.99], True),
        ([4.0, 4.0, 1.0, 1.0, 0.97, 0.97], False),
        ([4.0, 4.0, 1.0, 1.0, 1.5, 1.5], True),
        ([1.0, 1.0], False),
    ],
)
def test_a_fall_of_less_than_a_fiftieth_is_none(losses: list[float], stalled: bool) -> None:
    assert stops_falling(losses) is stalled
