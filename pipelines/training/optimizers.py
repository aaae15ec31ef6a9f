"""Optimisers selectable by name, and learning rates by stage of a network."""

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn, optim

from pipelines.core.errors import ConfigError
from pipelines.models.pretrained import stages


def make_optimizer(
    name: str,
    parameters: Iterable[nn.Parameter] | Iterable[dict[str, Any]],
    learning_rate: float,
    weight_decay: float,
    *,
    momentum: float = 0.9,
) -> optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum.

    Args:
        name: `"adamw"` or `"sgd"`.
        parameters: What is optimised, or groups of it with learning rates of their own.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled (AdamW) or added to the gradient (SGD).
        momentum: Weight of the past gradients, 0 to below 1; AdamW's first beta.

    Raises:
        ConfigError: If the name is neither.
    """
    if name == "adamw":
        betas = (momentum, 0.999)
        return optim.AdamW(parameters, lr=learning_rate, betas=betas, weight_decay=weight_decay, fused=True)
    if name == "sgd":
        return optim.SGD(
            parameters, lr=learning_rate, weight_decay=weight_decay, momentum=momentum, nesterov=momentum > 0
        )
    raise ConfigError(f"expected optimizer 'adamw' or 'sgd', found {name!r}")


def stage_groups(
    network: nn.Module, rates: Mapping[str, float], learning_rate: float, *, frozen: int = 0
) -> list[dict[str, Any]]:
    """Parameters of a network by stage, each with its learning rate.

    A stage of rate 0 is frozen: its weights take no gradient and its batch norms
    keep the statistics they have.

    Args:
        network: As for `stages`.
        rates: Factor of the learning rate for each stage, 0 or more.
        learning_rate: Learning rate of a stage of rate 1.
        frozen: Number of stages, from the image on, whose rate is taken to be 0.

    Returns:
        Groups as an optimiser takes them, without frozen stages.

    Raises:
        ConfigError: If a stage is missing or unknown, a rate is negative, or all are 0.
    """
    modules = stages(network)
    first = list(modules)[:frozen]
    rates = {stage: 0.0 if stage in first else rate for stage, rate in rates.items()}
    if set(rates) != set(modules) or min(rates.values()) < 0 or max(rates.values()) == 0:
        raise ConfigError(
            f"expected a rate of 0 or more for each of {', '.join(modules)}, one above 0, found {dict(rates)}"
        )
    groups = []
    for stage, members in modules.items():
        if rates[stage] == 0:
            for module in members:
                _freeze(module)
        else:
            parameters = [weight for module in members for weight in module.parameters(recurse=False)]
            groups.append({"params": parameters, "lr": rates[stage] * learning_rate})
    return groups


def _freeze(module: nn.Module) -> None:
    for weight in module.parameters(recurse=False):
        weight.requires_grad_(False)
    if isinstance(module, nn.BatchNorm2d):
        module.eval()
        # The trainer calls train() at each iteration, which would let the statistics go on.
        module.train = lambda mode=True: module  # type: ignore[method-assign]
