"""Quantise a network and measure what it costs and gains, as one job."""

from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.files import output_folder
from pipelines.core.manifest import write_manifest
from pipelines.core.progress import Progress
from pipelines.datasets.prepare import Section, read_datalist
from pipelines.datasets.prepare_xray import select
from pipelines.export.calibration import calibration_images, classifier_inputs
from pipelines.export.int8 import quantize
from pipelines.export.int8_comparison import COMPARISON_NAME, ROUNDS, compare
from pipelines.models.classifier import Classifier
from pipelines.models.weights_sidecar import copy_beside


def quantize_and_compare(
    network: str,
    dataset_dir: Path,
    output: Path,
    *,
    weights: Path | None = None,
    section: Section = "test",
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> tuple[Path, dict[str, Any]]:
    """Write `int8.xml`, `int8.bin`, `quantization.json` and a manifest.

    Args:
        network: Network of the chest X-ray bundle.
        dataset_dir: Prepared folder; calibration images are spread evenly over its training section.
        output: Folder for the results; made if it does not exist.
        weights: File to use instead of the bundle's own.
        section: Images that accuracies are measured on.
        rounds: Rounds of the time measurement.
        progress: Called while measuring.

    Returns:
        Path of `int8.xml`, and the content of `quantization.json`.

    Raises:
        ConfigError: If weights or packages are missing.
        DataError: If the folder is not prepared or an image cannot be read.
        OutputError: If the results cannot be written.
    """
    datalist = read_datalist(dataset_dir, kind="images")
    classifier = Classifier.load(network, weights=weights, device="cpu")
    calibration = calibration_images(classifier, dataset_dir)
    measured = select(datalist, section)
    copy_beside(classifier.folder, output_folder(output))
    model = quantize(classifier, calibration, output)
    truth = np.array([item["label"] for item in measured], dtype=np.int64)
    inputs = classifier_inputs(classifier, measured)
    content = compare(classifier, model, inputs, truth, output, rounds=rounds, progress=progress)
    write_manifest(
        output,
        network=network,
        section=section,
        leaks_patients=datalist["leaks_patients"],
        calibration_images=len(calibration),
        outputs=[model.name, model.with_suffix(".bin").name, COMPARISON_NAME],
    )
    return model, content
