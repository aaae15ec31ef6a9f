"""Wall time of a training step: data pipeline against memory, bf16 against fp32."""

import copy
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn

from pipelines.models.bundle import load_config
from pipelines.training.launch import train_network
from pipelines.training.optimisation import AutocastInferer

TRAINING_MINUTES: Final = 0.25
"""Minutes of training steps, after which memory no longer grows."""


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Median times of one training step in ms.

    Attributes:
        pipeline_ms: With loading and augmentation of a new batch.
        in_memory_ms: On one batch that is in memory and on the device.
        bf16_ms: On that batch in bfloat16.
        fp32_ms: On that batch in float32.
        plain_ms: On that batch as a plain PyTorch loop does it: float32, default memory format, AdamW.
    """

    pipeline_ms: float
    in_memory_ms: float
    bf16_ms: float
    fp32_ms: float
    plain_ms: float

    @property
    def pipeline_over_in_memory(self) -> float:
        """Time with the data pipeline over time without; 1 if data cost nothing."""
        return self.pipeline_ms / self.in_memory_ms

    @property
    def bf16_over_fp32(self) -> float:
        """Time in bfloat16 over time in float32; below 1 where bfloat16 is faster."""
        return self.bf16_ms / self.fp32_ms

    @property
    def throughput_over_plain(self) -> float:
        """Images a second with the data pipeline over those of plain PyTorch on a batch in memory."""
        return self.plain_ms / self.pipeline_ms


def time_training_steps(
    network: str,
    dataset_dir: Path,
    work_dir: Path,
    *,
    rounds: int = 9,
    progress: Callable[[int, int], None] | None = None,
    **settings: Any,
) -> StepTimes:
    """Median times of training steps built from the bundle's own configuration.

    Each round does one step of each kind, so that a change in the machine's load
    meets all kinds; a first round is not counted.

    Args:
        network: One of the bundle's networks.
        dataset_dir: Existing prepared folder, or one in ACDC's layout.
        work_dir: Folder for caches.
        rounds: Number of counted rounds.
        progress: Called with rounds done and rounds in all.
        **settings: Values that replace those of the configuration.
    """
    bench = _Bench(network, dataset_dir, work_dir, settings)
    batch = bench.prepare(next(bench.batches))
    kinds: dict[str, Callable[[], None]] = {
        "pipeline_ms": lambda: bench.step(bench.prepare(next(bench.batches)), bench.inferer),
        "in_memory_ms": lambda: bench.step(batch, bench.inferer),
        "bf16_ms": lambda: bench.step(batch, AutocastInferer(torch.bfloat16)),
        "fp32_ms": lambda: bench.step(batch, AutocastInferer(None)),
        "plain_ms": lambda: bench.plain_step(batch),
    }
    times: dict[str, list[float]] = {kind: [] for kind in kinds}
    for done in range(rounds + 1):
        for kind, step in kinds.items():
            elapsed_ms = 1000 * _seconds(step, bench.device)
            if done > 0:
                times[kind].append(elapsed_ms)
        if progress is not None:
            progress(done + 1, rounds + 1)
    return StepTimes(**{kind: statistics.median(found) for kind, found in times.items()})


class _Bench:
    """The parts of a training, and one step of it as MONAI's trainer does it."""

    def __init__(self, network: str, dataset_dir: Path, work_dir: Path, settings: dict[str, Any]) -> None:
        config = load_config(
            network, ["train"], dataset_dir=str(dataset_dir), output_dir=str(work_dir / network), **settings
        )
        get = config.get_parsed_content
        self.device: torch.device = get("device")
        self.network: nn.Module = get("network").train()
        self.averaged: Any = get("averaged")
        self.optimizer: torch.optim.Optimizer = get("train#optimizer")
        self.loss: nn.Module = get("train#loss")
        self.inferer: AutocastInferer = get("train#trainer#inferer")
        self.max_norm: float = get("max_norm")
        self.plain = copy.deepcopy(self.network).to(memory_format=torch.contiguous_format)
        self.plain_optimizer = torch.optim.AdamW(self.plain.parameters())
        self._prepare_batch = get("train#trainer#prepare_batch")
        self.batches = _endless(get("train#dataloader"))

    def prepare(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        image, label = self._prepare_batch(batch, self.device)
        return image, label

    def step(self, batch: tuple[Tensor, Tensor], inferer: AutocastInferer) -> None:
        image, label = batch
        self.optimizer.zero_grad()
        self.loss(inferer(image, self.network), label).backward()
        nn.utils.clip_grad_norm_(self.network.parameters(), self.max_norm)
        self.optimizer.step()
        self.averaged.update_parameters(self.network)

    def plain_step(self, batch: tuple[Tensor, Tensor]) -> None:
        image, label = batch
        self.plain_optimizer.zero_grad()
        self.loss(self.plain(image.contiguous()), label).backward()
        self.plain_optimizer.step()


def _endless(loader: Any) -> Iterator[dict[str, Tensor]]:
    while True:
        yield from loader


def _seconds(step: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    step()
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - start


def train_a_little(network: str, dataset_dir: str, run_dir: str) -> None:
    """Some steps and a validation with the batches and all the data of a real training."""
    train_network(network, Path(dataset_dir), Path(run_dir), overlays=["timed"], minutes=TRAINING_MINUTES)
