"""Dice of a predictor on labelled volumes, and nothing else: quick enough to ask often."""

import math
import statistics
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pipelines.core.indices import IntArray
from pipelines.core.labels import FOREGROUND, LABEL_NAMES
from pipelines.core.volume import check_same_grid, read_label, read_volume
from pipelines.evaluation.evaluate import VolumePredictor
from pipelines.evaluation.metrics import dice_coefficient

STRUCTURES = tuple(LABEL_NAMES[label] for label in FOREGROUND)

MEAN = "mean"
"""Name of the mean over the structures."""


def structure_dice(prediction: IntArray, truth: IntArray) -> dict[str, float | None]:
    """Dice of each structure, and their mean.

    Args:
        prediction: `(X, Y, Z)` label map with values from `AcdcLabel`.
        truth: `(X, Y, Z)` label map of the same shape.

    Returns:
        `rv`, `myo`, `lv` and `mean`; None for a structure that neither mask has.
    """
    found = {
        LABEL_NAMES[label]: dice_coefficient(prediction == label, truth == label) for label in FOREGROUND
    }
    return with_mean(found)


def mean_dice(predictor: VolumePredictor, items: Iterable[Mapping[str, Any]]) -> dict[str, float | None]:
    """Dice of each structure, the mean over labelled volumes that have it; and the mean of these.

    Args:
        predictor: Segments one volume at a time.
        items: Volumes as in a datalist, with the paths of `image` and `label`.

    Returns:
        `rv`, `myo`, `lv` and `mean`; None for a structure that no volume has.

    Raises:
        DataError: If a volume cannot be read, or a label is not on its image's grid.
    """
    rows = []
    for item in items:
        image, label = read_volume(Path(item["image"])), read_label(Path(item["label"]))
        check_same_grid(image, label)
        rows.append(structure_dice(predictor.predict(image).mask, label.array))
    return with_mean({name: _mean(row[name] for row in rows) for name in STRUCTURES})


def with_mean(dice: dict[str, float | None]) -> dict[str, float | None]:
    """The same with the mean of the structures that have a Dice as `mean`."""
    return {**dice, MEAN: _mean(dice.values())}


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None and not math.isnan(value)]
    return statistics.fmean(defined) if defined else None
