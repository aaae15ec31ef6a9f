"""One trial of a search: a training that tells of each epoch and goes on where it stopped."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.core.tasks import task_of
from pipelines.models.checkpoints import LAST_NAME
from pipelines.training.launch import train_network

TIME = "epoch"


def run_trial(
    settings: Mapping[str, Any],
    *,
    network: str,
    dataset_dir: Path,
    folder: Path,
    report: Callable[[dict[str, float]], None],
    overlays: Sequence[str] = (),
) -> None:
    """Train with some settings; go on from the last checkpoint if there is one.

    Args:
        settings: Values by the id of the setting.
        network: A network of one of the bundles.
        dataset_dir: Prepared folder.
        folder: Folder of the trial's run.
        report: Given the epoch and the scores on validation after each epoch.
        overlays: Further configuration files, without `.yaml`.

    Raises:
        ThoraxError: As for `train_network`.
    """
    scores = task_of(network).scores

    def tell(epoch: int, metrics: Mapping[str, float]) -> None:
        report({TIME: epoch} | {name: metrics[f"val_{name}"] for name in scores})

    resume = (folder / LAST_NAME).is_file()
    train_network(network, dataset_dir, folder, resume=resume, overlays=overlays, on_epoch=tell, **settings)
