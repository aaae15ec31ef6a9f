"""The workflows that a bundle's configuration describes: training and evaluation."""

import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ignite.engine import Engine
from torch import nn

from pipelines.core.files import write_manifest
from pipelines.datasets.prepare import Section, patient_records, select
from pipelines.evaluation.segmentation import evaluate as evaluate_records
from pipelines.models.heart import Member, Predictor
from pipelines.models.weights import load_weights, read_seen, write_seen
from pipelines.training.optimisation import flushed_denormals, keep_freed_memory

logger = logging.getLogger(__name__)


def start(network: nn.Module, *, initial_weights: str | None = None) -> None:
    """Prepare the process for training and load the weights to start from, if any.

    Args:
        network: Network to be trained.
        initial_weights: Path of a weights file, or None for random weights.

    Raises:
        ConfigError: If the weights are missing or do not fit.
    """
    keep_freed_memory()
    if initial_weights:
        load_weights(network, Path(initial_weights))


def train(
    trainer: Engine,
    datalist: dict[str, Any],
    *,
    output_dir: str | Path,
    items: Sequence[Mapping[str, Any]] = (),
    initial_weights: str | None = None,
    **details: Any,
) -> None:
    """Run the trainer and keep a manifest of the run beside its checkpoints.

    Args:
        trainer: Training engine with all its handlers.
        datalist: Its split hash and fingerprint go into the manifest.
        output_dir: Folder of the run.
        items: What is trained on; the hashes of the images go beside the weights.
        initial_weights: Weights that training starts from, or None: what they have seen counts, too.
        **details: Further entries of the manifest.
    """
    folder = Path(output_dir)
    record = {
        "split_hash": datalist["split_hash"],
        "fingerprint": datalist["fingerprint"],
        "device": str(trainer.state.device),
        **{
            name: value if isinstance(value, int | float | None) else str(value)
            for name, value in details.items()
        },
    }
    write_manifest(folder, **record, finished=False)
    _write_seen(folder, items, initial_weights)
    begin = time.perf_counter()
    try:
        with flushed_denormals():
            trainer.run()
    except KeyboardInterrupt:
        logger.warning("interrupted after epoch %d; continue with --resume", trainer.state.epoch - 1)
        raise
    seconds = time.perf_counter() - begin
    outputs = sorted(path.name for path in folder.iterdir() if path.is_file())
    write_manifest(
        folder, **record, finished=True, epochs=trainer.state.epoch, seconds=seconds, outputs=outputs
    )


def _write_seen(folder: Path, items: Sequence[Mapping[str, Any]], initial_weights: str | None) -> None:
    """What the run trains on; nothing where a datalist or the weights it starts from do not say."""
    images = [item.get("content_hash") for item in items]
    before = read_seen(Path(initial_weights).parent) if initial_weights else frozenset[str]()
    known = [digest for digest in images if digest is not None]
    if images and before is not None and len(known) == len(images):
        write_seen(folder, before.union(known))


def evaluate(
    datalist: dict[str, Any],
    section: Section,
    fold: int,
    *,
    member: Member,
    name: str,
    output_dir: str | Path,
) -> None:
    """Score a network on one section of a datalist, as `thorax evaluate` does on a folder.

    Args:
        datalist: As from `read_datalist`.
        section: `"training"`, `"validation"` or `"test"`.
        fold: 0 to 4.
        member: Network with its weights and transforms.
        name: Name of the network.
        output_dir: Folder that takes `metrics.json`, `metrics.csv` and overlays.
    """
    records = patient_records(select(datalist, section, fold))
    predictor = Predictor({name: member})
    metrics = evaluate_records(
        Path(datalist["root"]), Path(output_dir), predictor, records=records, seen=predictor.seen
    )
    logger.info("mean Dice %.4f on %s, see %s", metrics["summary"]["dice"]["mean"], section, output_dir)
