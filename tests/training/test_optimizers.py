import pytest
import torch

from pipelines.errors import ConfigError
from pipelines.training.optimizers import make_optimizer


def test_adamw_has_its_settings() -> None:
    optimizer = make_optimizer("adamw", torch.nn.Linear(2, 1), 0.01, 0.3)
    assert isinstance(optimizer, torch.optim.AdamW)
    assert optimizer.param_groups[0]["lr"] == 0.01
    assert optimizer.param_groups[0]["weight_decay"] == 0.3
    assert len(optimizer.param_groups[0]["params"]) == 2


def test_sgd_has_nesterov_momentum() -> None:
    optimizer = make_optimizer("sgd", torch.nn.Linear(2, 1), 0.01, 0.3)
    group = optimizer.param_groups[0]
    assert isinstance(optimizer, torch.optim.SGD)
    assert (group["momentum"], group["nesterov"], group["weight_decay"]) == (0.9, True, 0.3)


def test_another_name_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected optimizer 'adamw' or 'sgd', found 'adam'"):
        make_optimizer("adam", torch.nn.Linear(2, 1), 0.01, 0)
