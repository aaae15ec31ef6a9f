"""Evaluation of a network by its name, which decides whether it segments hearts or classifies radiographs."""

from pathlib import Path
from typing import Any

from pipelines.core.progress import Progress
from pipelines.core.tasks import task_of
from pipelines.datasets.prepare import Section


def evaluate(
    network: str,
    root: Path,
    output: Path,
    *,
    weights: Path | None = None,
    section: Section = "test",
    fold: int = 0,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure a network on labelled images; the content of `metrics.json`.

    Args:
        network: A network of one of the bundles.
        root: Folder of `thorax prepare`, or a labelled folder in the task's own layout.
        output: Folder for `metrics.json`, `metrics.csv` and pictures; made if it does not exist.
        weights: Existing file to use instead of the bundle's own.
        section: Part of a prepared folder that is measured.
        fold: Fold that validation stands for.
        device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
        progress: Called with images done, images in all and the image's name.

    Returns:
        For hearts as from `pipelines.evaluation.segmentation`, for radiographs as from
        `pipelines.evaluation.classification`.

    Raises:
        ConfigError: If the network or the fold is unknown, or weights are missing or do not fit.
        DataError: If there is nothing that can be evaluated.
        OutputError: If the results cannot be written.
    """
    task = task_of(network)
    records = task.find("records")(root, section, fold)
    model = task.find("model").load(network, weights=weights, device=device)
    metrics: dict[str, Any] = task.find("evaluate")(root, output, model, records=records, progress=progress)
    return metrics
