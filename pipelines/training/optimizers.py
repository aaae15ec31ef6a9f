"""Optimisers selectable by name."""

from torch import nn, optim

from pipelines.errors import ConfigError


def make_optimizer(
    name: str, network: nn.Module, learning_rate: float, weight_decay: float
) -> optim.Optimizer:
    """AdamW, or SGD with Nesterov momentum 0.9.

    Args:
        name: `"adamw"` or `"sgd"`.
        network: Its parameters are optimised.
        learning_rate: Peak learning rate.
        weight_decay: Decoupled (AdamW) or added to the gradient (SGD).

    Raises:
        ConfigError: If the name is neither.
    """
    if name == "adamw":
        return optim.AdamW(network.parameters(), lr=learning_rate, weight_decay=weight_decay, fused=True)
    if name == "sgd":
        return optim.SGD(
            network.parameters(), lr=learning_rate, weight_decay=weight_decay, momentum=0.9, nesterov=True
        )
    raise ConfigError(f"expected optimizer 'adamw' or 'sgd', found {name!r}")
