"""What the training workflow of the chest X-ray bundle does around its trainer."""

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch import Tensor, nn

from pipelines.datasets.prepare import Section
from pipelines.datasets.prepare_xray import select, xray_records
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.classification import chosen_threshold, evaluate_xray
from pipelines.models.weights import BEST_NAME, load_imagenet, write_network, write_threshold
from pipelines.models.xray import Classifier
from pipelines.training.run import start as start_run

BATCH = 32

logger = logging.getLogger(__name__)


def start(
    network: nn.Module,
    architecture: str,
    *,
    pretrained: bool = False,
    weights_file: str | None = None,
    initial_weights: str | None = None,
) -> None:
    """Prepare the process for training and load the weights to start from, if any.

    Args:
        network: Network to be trained.
        architecture: Name of it, as for `load_imagenet`.
        pretrained: Start from ImageNet's weights.
        weights_file: Path of a file of them, as for `load_imagenet`.
        initial_weights: Path of a weights file of this bundle to start from instead.

    Raises:
        ConfigError: If weights are missing, cannot be had, or do not fit.
    """
    if not initial_weights and (pretrained or weights_file):
        load_imagenet(network, architecture, weights_file=Path(weights_file) if weights_file else None)
    start_run(network, initial_weights=initial_weights)


class SettingsKeeper:
    """Write to the run's folder what its weights belong to, once the run was not refused.

    Args:
        folder: Folder of the run.
        architecture: As for `write_network`.
        settings: Values of the configuration without which the weights do not fit.
    """

    def __init__(self, folder: str | Path, *, architecture: str, settings: Mapping[str, Any]) -> None:
        self.folder = Path(folder)
        self.architecture = architecture
        self.settings = dict(settings)

    def attach(self, engine: Engine) -> None:
        """Write when the trainer starts; attach it after what may refuse to."""
        engine.add_event_handler(
            Events.STARTED, lambda: write_network(self.folder, self.architecture, self.settings)
        )


def choose_threshold(
    datalist: dict[str, Any],
    *,
    network: nn.Module,
    resize: Callable[[Tensor], Tensor],
    to_input: Callable[[Tensor], Tensor],
    device: torch.device,
    dtype: torch.dtype | None,
    output_dir: str | Path,
) -> None:
    """Write the threshold chosen on validation, see `chosen_threshold`, beside the best weights.

    Args:
        datalist: As from `read_datalist`.
        network: Network that takes the best weights of the run.
        resize: As for `Classifier`.
        to_input: As for `Classifier`.
        device: Where the network runs.
        dtype: Type of the fast operations, None for float32.
        output_dir: Folder of the run.
    """
    folder = Path(output_dir)
    classifier = Classifier(
        network, folder / BEST_NAME, resize=resize, to_input=to_input, device=device, dtype=dtype
    )
    items = select(datalist, "validation")
    found = []
    for first in range(0, len(items), BATCH):
        images = [read_xray(Path(item["image"])).pixels for item in items[first : first + BATCH]]
        found.append(classifier.probabilities(images))
    truth = np.array([item["label"] for item in items], dtype=np.int64)
    patients = [str(item["patient"]) for item in items]
    threshold, gain = chosen_threshold(truth, np.concatenate(found), patients)
    write_threshold(folder, threshold, chosen_on="validation", images=len(items), gain_of_best=gain)
    logger.info("threshold %.3f; gain of the best one on validation over 0.5: %s", threshold, gain)


def evaluate(
    datalist: dict[str, Any], section: Section, *, classifier: Classifier, output_dir: str | Path
) -> None:
    """Score a network on one section of a datalist, as `thorax evaluate` does on a folder.

    Args:
        datalist: As from `read_datalist`.
        section: `"training"`, `"validation"` or `"test"`.
        classifier: Network with its weights and threshold.
        output_dir: Folder that takes `metrics.json`, `metrics.csv` and pictures.
    """
    records = xray_records(select(datalist, section))
    metrics = evaluate_xray(
        Path(datalist["root"]), Path(output_dir), classifier, records=records, seen=classifier.seen
    )
    summary = metrics["summary"]
    logger.info(
        "accuracy %.4f, AUROC %s on %s, see %s", summary["accuracy"], summary["auroc"], section, output_dir
    )
