"""Optimisation: threads, precision, losses, optimizers and schedules."""

import ctypes
import math
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

import torch
from ignite.engine import Engine, Events
from monai.inferers import Inferer, SimpleInferer
from monai.losses import DeepSupervisionLoss, DiceCELoss
from torch import Tensor, nn, optim
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torch.overrides import TorchFunctionMode

from pipelines.core.errors import ConfigError
from pipelines.models.weights import stages

M_TRIM_THRESHOLD = -1
M_MMAP_THRESHOLD = -3
LARGEST_MMAP_THRESHOLD = 32 << 20
"""What glibc accepts at most on 64-bit systems, bytes; larger blocks are still mapped one by one."""

KEPT_BYTES = 1 << 30
"""Free memory at the top of the heap that is not given back, bytes."""


def keep_freed_memory() -> None:
    """Keep freed memory in the process for the next iteration.

    By default glibc gives each large tensor back to the system as soon as it is
    freed and asks for it again in the next iteration, which costs page faults.
    On other C libraries nothing happens.

    References:
        mallopt(3), Linux man-pages.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(None)
        libc.mallopt(M_MMAP_THRESHOLD, LARGEST_MMAP_THRESHOLD)
        libc.mallopt(M_TRIM_THRESHOLD, KEPT_BYTES)


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Treat denormal floats as zero within the block: they slow arithmetic down many times.

    It changes results by at most 1e-38, but must not outlast the training:
    SciPy's `KDTree`, with which surface distances are measured, then recurses
    without end on points that coincide along an axis, and crashes the process.

    References:
        PyTorch performance tuning guide, CPU section.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


ROUNDS = 4
"""Turns of each thread count in a trial, which takes a few tenths of a second."""


def fastest_thread_count(
    most: int,
    work: Callable[[], object] | None = None,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> int:
    """Either `most` or 1, whichever number of torch threads works faster now.

    Threads wait for one another at the end of each layer. On a shared machine, or in
    a container with less CPU time than cores, that can make two slower than one.

    Args:
        most: Largest number of threads.
        work: What is timed; by default a small convolution forward and backward.
        clock: Gives the time in s.
    """
    if most == 1:
        return 1
    work = work or _convolution()
    spent = {most: 0.0, 1: 0.0}
    for _ in range(ROUNDS):
        for count in spent:
            with torch_threads(count):
                start = clock()
                work()
                spent[count] += clock() - start
    return min(spent, key=lambda count: spent[count])


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Let torch use so many CPU threads within the block."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class ThreadChooser:
    """Change between all threads and one during training, as the load of the machine changes.

    Args:
        every: Iterations between trials.
        choose: Gives the better number, up to the one it gets.
    """

    def __init__(self, every: int = 20, choose: Callable[[int], int] = fastest_thread_count) -> None:
        self.every = every
        self.choose = choose
        self._most = torch.get_num_threads()

    def attach(self, engine: Engine) -> None:
        """Try before the first iteration and then regularly; leave all threads at the end."""
        for event in (Events.STARTED, Events.ITERATION_COMPLETED(every=self.every)):
            engine.add_event_handler(event, lambda: torch.set_num_threads(self.choose(self._most)))
        engine.add_event_handler(Events.COMPLETED, lambda: torch.set_num_threads(self._most))


def _convolution() -> Callable[[], object]:
    layers = nn.Sequential(nn.Conv2d(24, 24, 3, padding=1), nn.BatchNorm2d(24), nn.LeakyReLU())
    layers = layers.to(memory_format=torch.channels_last)
    image = torch.rand(6, 24, 128, 128).to(memory_format=torch.channels_last)
    return lambda: layers(image).sum().backward()


class SegmentationLoss(nn.Module):
    """Dice plus cross-entropy of logits and labels, in float32.

    Dice is taken over the batch, so that a slice without a structure does not
    push the network to see it nowhere.

    Args:
        cross_entropy_weight: Weight of the cross-entropy against Dice.
    """

    def __init__(self, cross_entropy_weight: float = 1.0) -> None:
        super().__init__()
        single = DiceCELoss(
            include_background=False,
            to_onehot_y=True,
            softmax=True,
            batch=True,
            lambda_ce=cross_entropy_weight,
        )
        self.loss = DeepSupervisionLoss(single, weight_mode="exp")

    def forward(self, prediction: Tensor, label: Tensor) -> Tensor:
        """Loss, a scalar.

        Args:
            prediction: Logits `(B, C, H, W)`, or `(B, heads, C, H, W)` with the main head first.
            label: `(B, 1, H, W)` integer.
        """
        heads = (
            torch.unbind(prediction.float(), dim=1) if prediction.ndim > label.ndim else [prediction.float()]
        )
        total: Tensor = self.loss(list(heads), label)
        return total


class ClassLoss(nn.CrossEntropyLoss):
    """Cross-entropy of logits in any precision, computed in float32."""

    def forward(self, input: Tensor, target: Tensor) -> Tensor:  # noqa: A002
        """Loss of logits `(B, C)` and labels `(B,)`."""
        return super().forward(input.float(), target)


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


class AutocastInferer(Inferer):
    """Run an inferer under autocast; the loss outside of it stays in float32.

    MONAI's `amp: true` wraps CUDA only, so bf16 on a CPU needs this.

    Args:
        dtype: Type of the fast operations, or None for plain float32.
        inferer: What is run; by default the network as it is.
    """

    def __init__(self, dtype: torch.dtype | None, inferer: Inferer | None = None) -> None:
        super().__init__()
        self.dtype = dtype
        self.inferer = inferer or SimpleInferer()

    def __call__(self, inputs: Tensor, network: nn.Module, *args: Any, **kwargs: Any) -> Any:
        """The network's output for `inputs`."""
        with torch.autocast(inputs.device.type, self.dtype, enabled=self.dtype is not None):
            if self.dtype is None or inputs.device.type != "cpu" or not torch.is_grad_enabled():
                return self.inferer(inputs, network, *args, **kwargs)
            with _GroupedInFloat32():
                return self.inferer(inputs, network, *args, **kwargs)


class _GroupedInFloat32(TorchFunctionMode):
    """Grouped convolutions in float32, since their bf16 gradients take up to 10 times as long on a CPU."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func is not torch.conv2d or len(args) < 7 or args[6] == 1:
            return func(*args, **(kwargs or {}))
        image, weight, *rest = args
        with torch.autocast("cpu", enabled=False):
            return func(image.float(), weight.float(), *rest).to(image.dtype)
