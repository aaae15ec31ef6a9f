"""Evaluation of a classifier on labelled radiographs: figures, tables and pictures."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import Progress
from pipelines.core.records import Problem
from pipelines.datasets.chest_xray import Finding, XrayRecord, decide, read_chest_xray
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.classification import FloatArray, summarise_classification
from pipelines.figures.xray_figures import write_figures
from pipelines.models.classifier import XrayModel

METRICS_NAME = "metrics.json"
COLUMNS = ("image", "patient", "finding", "agent", "probability", "decision", "is_correct")

logger = logging.getLogger(__name__)


def evaluate_xray(
    root: Path,
    output: Path,
    classifier: XrayModel,
    *,
    records: Sequence[XrayRecord] | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Classify every labelled radiograph, and write figures, a table and pictures.

    An image that cannot be read is listed under `problems`, and the rest goes on.

    Args:
        root: Existing folder with `NORMAL` or `PNEUMONIA` at any depth.
        output: Folder for `metrics.json`, `metrics.csv` (a row per image), `roc.png`,
            `confusion.png`, `calibration.png` and TensorBoard entries; made if it does not exist.
        classifier: Classifies one image at a time.
        records: Images to evaluate in place of all in `root`.
        progress: Called with images done, images in all and the image's name.

    Returns:
        The content of `metrics.json`: see `summarise_classification`, with `cases` and `problems`.

    Raises:
        DataError: If there is no image that can be evaluated.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    problems: list[Problem] = []
    if records is None:
        dataset = read_chest_xray(root)
        records, problems = dataset.records, list(dataset.problems)
    cases: list[dict[str, Any]] = []
    for done, record in enumerate(records, start=1):
        try:
            cases.append(_case(record, classifier))
        except DataError as error:
            logger.warning("put aside %s: %s", record.image, error)
            problems.append(Problem(record.patient, record.image, str(error)))
        if progress is not None:
            progress(done, len(records), record.image.name)
    if not cases:
        raise DataError(
            f"expected an image that can be evaluated below {root}, found none of {len(records)}; "
            f"the last problem: {problems[-1].reason if problems else 'no images'}"
        )
    truth, probability = truth_and_probability(cases)
    patients = [case["patient"] for case in cases]
    metrics = summarise_classification(truth, probability, patients, threshold=classifier.threshold)
    metrics |= {"cases": cases, "problems": [asdict(problem) for problem in problems]}
    write_figures(metrics, output)
    write_csv(output / "metrics.csv", COLUMNS, cases)
    write_json(output / METRICS_NAME, metrics)
    return metrics


def read_cases(evaluation: Path) -> list[dict[str, Any]]:
    """Cases of an evaluation.

    Raises:
        DataError: If there is none.
    """
    path = evaluation / METRICS_NAME
    try:
        cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
    except (OSError, ValueError, KeyError) as error:
        raise DataError(
            f"expected an evaluation of 'thorax evaluate-xray', found {path}: {error!r}"
        ) from error
    return cases


def truth_and_probability(cases: Sequence[dict[str, Any]]) -> tuple[Any, FloatArray]:
    """`(N,)` labels, 1 for pneumonia, and probabilities of the cases of an evaluation."""
    truth = np.array([case["finding"] == Finding.PNEUMONIA for case in cases], dtype=np.int64)
    return truth, np.array([case["probability"] for case in cases], dtype=np.float64)


def _case(record: XrayRecord, classifier: XrayModel) -> dict[str, Any]:
    probability = classifier.probability(read_xray(record.image).pixels)
    decision = decide(probability, classifier.threshold)
    return {
        "image": str(record.image),
        "patient": record.patient,
        "finding": record.finding.value,
        "agent": record.agent,
        "probability": probability,
        "decision": decision.value,
        "is_correct": decision is record.finding,
    }
