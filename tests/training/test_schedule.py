import math
from itertools import pairwise

import pytest
import torch

from pipelines.core.errors import ConfigError
from pipelines.training.schedule import Decay, warmup_decay


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
