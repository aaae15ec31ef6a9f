"""One trial of a search: a training that tells of each epoch and goes on where it stopped."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pipelines.training.checkpoints import LAST_NAME
from pipelines.training.launch import train_network

METRIC = "auroc"
"""What trials are compared by, on validation."""

TIME = "epoch"


def run_trial(
    settings: Mapping[str, Any],
    *,
    network: str,
    dataset_dir: Path,
    folder: Path,
    report: Callable[[dict[str, float]], None],
) -> None:
    """Train with some settings; go on from the last checkpoint if there is one.

    Args:
        settings: Values by the id of the setting.
        network: Network of the chest X-ray bundle.
        dataset_dir: Prepared folder.
        folder: Folder of the trial's run.
        report: Given the epoch, and AUROC and accuracy on validation, after each epoch.

    Raises:
        ThoraxError: As for `train_network`.
    """

    def tell(epoch: int, metrics: Mapping[str, float]) -> None:
        report({TIME: epoch, METRIC: metrics["val_auroc"], "accuracy": metrics["val_accuracy"]})

    resume = (folder / LAST_NAME).is_file()
    train_network(network, dataset_dir, folder, resume=resume, on_epoch=tell, **settings)
