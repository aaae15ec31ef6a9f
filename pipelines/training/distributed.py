"""A run that several processes train together, on one machine or on a Ray cluster."""

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from ignite.engine import Engine, Events

from pipelines.core.errors import ConfigError, ThoraxError
from pipelines.core.files import output_folder
from pipelines.core.install import ray_session
from pipelines.core.tasks import task_of
from pipelines.datasets.prepare import read_datalist
from pipelines.models.weights import BEST_NAME, LAST_NAME, RunCheckpoint
from pipelines.training.handlers import TrainingMonitor, WeightAverager
from pipelines.training.launch import check_settings, train_network
from pipelines.training.optimisation import flushed_denormals

Item = TypeVar("Item")


def share(items: Sequence[Item]) -> list[Item]:
    """This process's share of what is validated: every n-th of n processes.

    Metrics gather the shares, so that each process has the figures of all items.

    Raises:
        ConfigError: If there are fewer items than processes.
    """
    rank, processes = dist.get_rank(), dist.get_world_size()
    if len(items) < processes:
        raise ConfigError(
            f"expected at least one validation item for each of {processes} processes, found {len(items)}; "
            "use fewer processes"
        )
    return list(items[rank::processes])


def follow(trainer: Engine) -> None:
    """Train beside the first process, which runs `pipelines.training.run.train`, and write nothing."""
    with flushed_denormals():
        trainer.run()


class RankCheckpoint(RunCheckpoint):
    """`RunCheckpoint` of which only the first process writes and decides when to stop.

    All processes load the same states when they resume. The first one tells the
    others to stop after an epoch, since a process that stops alone would leave
    the rest waiting for its gradients.
    """

    def _compare(self, evaluator: Engine) -> None:
        if dist.get_rank() == 0:
            super()._compare(evaluator)

    def _save(self, engine: Engine) -> None:
        if dist.get_rank() == 0:
            super()._save(engine)
        stop = torch.tensor([int(engine.should_terminate)], device=engine.state.device)
        dist.broadcast(stop, src=0)
        if stop.item():
            engine.terminate()


class RankMonitor(TrainingMonitor):
    """`TrainingMonitor` of the mean loss over all processes, which only the first one writes."""

    def _start(self, engine: Engine) -> None:
        if dist.get_rank() == 0:
            super()._start(engine)

    def _write_epoch(self, engine: Engine) -> None:
        sums = torch.tensor([self._loss_sum, float(self._batches)], device=engine.state.device)
        dist.all_reduce(sums)
        self._loss_sum, self._batches = float(sums[0]), int(sums[1])
        if dist.get_rank() == 0:
            super()._write_epoch(engine)
            return
        self._loss_sum, self._batches, self._metrics = 0.0, 0, {}
        if self._pictures is not None:
            self._pictures.forget()


class RankWeightAverager(WeightAverager):
    """`WeightAverager` that evens out batch norms' statistics over the processes after each epoch.

    Each process has seen other batches. Without this, shares of the validation
    would be segmented by slightly different networks. Attach it before validation.
    """

    def attach(self, engine: Engine) -> None:
        """Average at the end of each iteration, agree at the end of each epoch."""
        super().attach(engine)
        engine.add_event_handler(Events.EPOCH_COMPLETED, self._agree)

    def _agree(self, engine: Engine) -> None:
        for buffer in self.averaged.module.buffers():
            if buffer.is_floating_point():
                dist.all_reduce(buffer)
                buffer /= dist.get_world_size()


OVERLAY: Final = "multi_gpu_train"
"""Overlay of both bundles for several processes; it is read last."""

STATE_NAME: Final = "ray"
"""Folder in the run with Ray Train's own notes; removed when the run has ended well."""

START_TIMEOUT_S: Final = "600"
"""How long workers may take to start, s: they import PyTorch from a disk that may be far away."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """Who trains.

    Attributes:
        workers: Processes, each with its share of every batch.
        address: Existing Ray cluster, such as `"auto"` or `"ray://host:10001"`, whose machines all
            see the same folders; None starts Ray on this machine.
        threads: Cores, and CPU threads, of each process.
        failures: How often the run goes on from its last checkpoint after a process was lost.
    """

    workers: int
    address: str | None = None
    threads: int = 1
    failures: int = 3


def train_by_workers(
    network: str,
    dataset_dir: Path,
    output_dir: Path,
    options: WorkerOptions,
    *,
    resume: bool = False,
    overlays: Sequence[str] = (),
    **settings: Any,
) -> Path:
    """Train a network as `torchrun` does with the overlay `multi_gpu_train`, on a Ray cluster.

    `batch_size` is that of one process. Each takes a GPU if the cluster has one for each, and works
    on the CPU otherwise. When one is lost, all start again from `last.pt`, as `--resume` does.

    Args:
        network: A network of one of the bundles.
        dataset_dir: Prepared folder that all machines see.
        output_dir: Folder of the run that all machines see; made if it does not exist.
        options: Who trains.
        resume: Go on with the run in `output_dir`.
        overlays: Further configuration files to read after `train`, without `.yaml`.
        **settings: Values that replace those of the configuration, by their id.

    Returns:
        Path of the best weights.

    Raises:
        ConfigError: If Ray is missing, the cluster has too few cores, a setting is unknown,
            `output_dir` does not fit `resume`, or processes were lost more often than allowed.
        DataError: If `dataset_dir` is not prepared.
    """
    read_datalist(dataset_dir, kind=task_of(network).datalist_kind)
    overlays = (*overlays, OVERLAY)
    check_settings(settings, network, overlays)
    folder = output_folder(output_dir.resolve())
    if (folder / LAST_NAME).is_file() != resume:
        raise ConfigError(
            f"expected a run to go on with in {folder}, found none; start without --resume"
            if resume
            else f"expected an empty run folder, found {folder / LAST_NAME}; go on with it by --resume, "
            "or choose another folder by --output"
        )
    job = {
        "network": network,
        "dataset_dir": dataset_dir.resolve(),
        "output_dir": folder,
        "overlays": overlays,
        **settings,
    }
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", START_TIMEOUT_S)
    with ray_session(options.address, cpus=options.workers * options.threads, part="ray.train.torch"):
        _fit(job, options, folder / STATE_NAME)
    shutil.rmtree(folder / STATE_NAME, ignore_errors=True)
    return folder / BEST_NAME


def _fit(job: Mapping[str, Any], options: WorkerOptions, state: Path) -> None:
    import ray
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    resources = ray.cluster_resources()
    wanted, found = options.workers * options.threads, resources.get("CPU", 0)
    if found < wanted:
        raise ConfigError(
            f"expected {wanted} cores for {options.workers} workers, found a cluster of {found:g}; "
            "ask for fewer workers or threads"
        )
    trainer = TorchTrainer(
        _train,
        train_loop_config={"job": job, "threads": options.threads},
        scaling_config=ScalingConfig(
            num_workers=options.workers,
            use_gpu=resources.get("GPU", 0) >= options.workers,
            resources_per_worker={"CPU": options.threads},
        ),
        run_config=RunConfig(
            name=f"{job['network']}-{os.getpid()}",
            storage_path=str(state),
            failure_config=FailureConfig(max_failures=options.failures),
        ),
    )
    try:
        trainer.fit()
    except TrainingFailedError as error:
        for failure in getattr(error, "worker_failures", {}).values():
            cause = getattr(failure, "_base_exc", failure)  # Ray keeps the error of the loop within its own
            if isinstance(cause, ThoraxError):
                raise cause from None
        raise ConfigError(
            f"expected workers to train until the end, found that they were lost more than "
            f"{options.failures} times: {error}; go on with --resume"
        ) from error


def _train(config: Mapping[str, Any]) -> None:
    """What each process runs, and runs again after one of them was lost."""
    import ray.train

    torch.set_num_threads(config["threads"])

    def report_epoch(epoch: int, metrics: Mapping[str, float]) -> None:
        numbers = {name: float(value) for name, value in metrics.items() if isinstance(value, int | float)}
        ray.train.report({"epoch": epoch} | numbers)

    resume = (config["job"]["output_dir"] / LAST_NAME).is_file()
    train_network(**config["job"], resume=resume, on_epoch=report_epoch)
