"""The committed weights, float and int8, tell real radiographs apart.

Accuracy is measured elsewhere, on patients not trained on: the network has seen some of these.
"""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pipelines.datasets.xray_image import Finding, XrayRecord, read_chest_xray
from pipelines.evaluation.classification import evaluate_xray, truth_and_probability
from pipelines.models.xray import Classifier, Int8Classifier

IMAGES = 40
MIN_ACCURACY = 0.9
"""Below what the results page reports; a network that lost its weights or its size is far lower."""

THRESHOLD = 0.5
MIN_AGREEMENT = 0.97
"""Measured: 98.7% on validation, whichever way of NNCF rounds; a single film near 0.5 moves by up to 0.4."""


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["chest_xray", "chest_xray_fullres"])
def test_committed_weights_tell_pneumonia_from_healthy_lungs(
    folder: str, thorax_data: Path, tmp_path: Path
) -> None:
    root = thorax_data / folder
    if not root.is_dir():
        pytest.skip(f"no {root}")
    records = list(spread(read_chest_xray(root).records))
    found = {}
    for name, model in (("float", Classifier.load(device="cpu")), ("int8", Int8Classifier())):
        metrics = evaluate_xray(root, tmp_path / name, model, records=records)
        assert metrics["problems"] == []
        assert metrics["summary"]["balanced_accuracy"] >= MIN_ACCURACY, name
        found[name] = truth_and_probability(metrics["cases"])[1]
    same = (found["float"] >= THRESHOLD) == (found["int8"] >= THRESHOLD)
    assert same.mean() >= MIN_AGREEMENT
    assert np.abs(found["float"] - found["int8"]).mean() < 0.02


def spread(records: list[XrayRecord]) -> Iterator[XrayRecord]:
    """So many images of each finding, from all over the dataset."""
    for finding in Finding:
        same = [record for record in records if record.finding is finding]
        yield from islice(same, 0, None, max(1, len(same) // IMAGES))
