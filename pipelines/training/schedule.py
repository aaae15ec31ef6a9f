"""Learning-rate schedule: linear warm-up, then polynomial or cosine decay to zero."""

import math
from typing import Literal

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from pipelines.core.errors import ConfigError

Decay = Literal["poly", "cosine"]


def warmup_decay(
    optimizer: Optimizer, *, iterations: int, warmup: int = 100, decay: Decay = "poly"
) -> LambdaLR:
    """Scheduler to step once an iteration.

    Args:
        optimizer: Its learning rates are the peak.
        iterations: Length of the whole training.
        warmup: Iterations of linear rise; cut to a tenth of `iterations` in short runs.
        decay: `"poly"` falls as `(1 - t) ** 0.9`, `"cosine"` as half a cosine.

    Raises:
        ConfigError: If `decay` is neither.

    References:
        Polynomial exponent: nnU-Net, doi:10.1038/s41592-020-01008-z.
    """
    if decay not in ("poly", "cosine"):
        raise ConfigError(f"expected decay 'poly' or 'cosine', found {decay!r}")
    rise = max(1, min(warmup, iterations // 10))

    def factor(step: int) -> float:
        if step < rise:
            return (step + 1) / rise
        rest = max(0.0, 1 - (step - rise) / max(1, iterations - rise))
        return float(rest**0.9) if decay == "poly" else 0.5 * (1 - math.cos(math.pi * rest))

    return LambdaLR(optimizer, factor)
