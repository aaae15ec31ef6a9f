"""Engine handlers of the training loop: seeding, gradient clipping, weight averaging."""

import torch
from ignite.engine import Engine, Events
from monai.engines.utils import IterationEvents
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class EpochSeeder:
    """Seed torch from the run's seed and the epoch, so that a resumed run repeats the uninterrupted one.

    Args:
        seed: Seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed

    def attach(self, engine: Engine) -> None:
        """Seed at the start of each epoch, before the loader shuffles."""
        engine.add_event_handler(Events.EPOCH_STARTED, self._seed)

    def _seed(self, engine: Engine) -> None:
        torch.manual_seed(self.seed * 100_003 + engine.state.epoch)


class GradientClipper:
    """Scale gradients down to a largest norm between the backward pass and the step.

    Args:
        network: Its parameters' gradients are clipped.
        max_norm: Largest Euclidean norm over all parameters.
    """

    def __init__(self, network: nn.Module, max_norm: float) -> None:
        self.network = network
        self.max_norm = max_norm

    def attach(self, engine: Engine) -> None:
        """Clip after each backward pass of a MONAI `SupervisedTrainer`."""
        engine.add_event_handler(IterationEvents.BACKWARD_COMPLETED, self._clip)

    def _clip(self, engine: Engine) -> None:
        if engine.scaler is not None:
            engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)


def averaged_copy(network: nn.Module, decay: float = 0.995) -> AveragedModel:
    """Exponential moving average of a network's weights and buffers.

    The decay warms up as `(1 + n) / (10 + n)`, so that the random start is
    forgotten also in short runs.

    Args:
        network: Network in training.
        decay: Weight of the past at each iteration; 0 makes a plain copy of the last weights.
    """

    def average(past: Tensor, present: Tensor, count: Tensor | int) -> Tensor:
        step = float(count)
        weight = min(decay, (1 + step) / (10 + step))
        return (past * weight).add_(present * (1 - weight))

    averaged = AveragedModel(network, avg_fn=average, use_buffers=True)
    averaged.eval()
    return averaged


class WeightAverager:
    """Update the averaged copy after each iteration.

    Args:
        averaged: As from `averaged_copy`.
        network: Network in training.
    """

    def __init__(self, averaged: AveragedModel, network: nn.Module) -> None:
        self.averaged = averaged
        self.network = network

    def attach(self, engine: Engine) -> None:
        """Average at the end of each iteration."""
        engine.add_event_handler(Events.ITERATION_COMPLETED, self._update)

    def _update(self, engine: Engine) -> None:
        self.averaged.update_parameters(self.network)
