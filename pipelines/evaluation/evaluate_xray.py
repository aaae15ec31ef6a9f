"""Evaluation of a classifier on labelled radiographs: figures, tables and pictures."""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.core.errors import ConfigError, DataError, cause
from pipelines.core.files import output_folder, write_csv, write_json
from pipelines.core.progress import Progress
from pipelines.core.records import Problem
from pipelines.datasets.chest_xray import Finding, XrayRecord, decide, read_chest_xray
from pipelines.datasets.duplicates import pixel_hash
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.classification import FloatArray, summarise_classification
from pipelines.evaluation.evaluate import NOTHING_KNOWN
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
    seen: frozenset[str] | None = None,
    unseen_only: bool = False,
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
        seen: Hashes of the images that the weights were trained on, None if they are not known.
        unseen_only: Leave out the patients that the weights were trained on.
        progress: Called with images done, images in all and the image's name.

    Returns:
        The content of `metrics.json`: see `summarise_classification`, with `cases` and `problems`; and
            `seen_patients`, those that the weights were trained on, whether measured or left out, or None
            if nothing is known of that.

    Raises:
        ConfigError: If `unseen_only` where nothing is known of what was seen.
        DataError: If there is no image that can be evaluated.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    if unseen_only and seen is None:
        raise ConfigError(NOTHING_KNOWN)
    problems: list[Problem] = []
    if records is None:
        dataset = read_chest_xray(root)
        records, problems = dataset.records, list(dataset.problems)
    seen_patients = _seen_patients(records, seen)
    if unseen_only:
        records = [record for record in records if record.patient not in set(seen_patients or [])]
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
    metrics |= {"seen_patients": seen_patients, "unseen_only": unseen_only}
    write_figures(metrics, output)
    write_csv(output / "metrics.csv", COLUMNS, cases)
    write_json(output / METRICS_NAME, metrics)
    return metrics


def _seen_patients(records: Sequence[XrayRecord], seen: frozenset[str] | None) -> list[str] | None:
    """Patients with an image that the weights were trained on, in name order; None if it is not known."""
    if seen is None:
        return None
    found = set[str]()
    for record in records:
        try:
            if pixel_hash(read_xray(record.image).pixels) in seen:
                found.add(record.patient)
        except DataError:
            continue  # reported where it is measured
    return sorted(found)


def read_cases(evaluation: Path) -> list[dict[str, Any]]:
    """Cases of an evaluation.

    Raises:
        DataError: If there is none.
    """
    path = evaluation / METRICS_NAME
    try:
        cases: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cases"]
        is_of_radiographs = all("probability" in case for case in cases)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"expected an evaluation of 'thorax evaluate-xray' at {path}, found {cause(error)}"
        ) from error
    if not is_of_radiographs:
        raise DataError(
            f"expected an evaluation of radiographs at {path}, found one of hearts; those are "
            "analysed by 'thorax analyse-errors'"
        )
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
