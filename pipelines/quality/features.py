"""What can be told of a segmentation without its true label: certainty, agreement, shape, size."""

import math
from dataclasses import replace
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.core.indices import structure_volume_ml
from pipelines.core.labels import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.plausibility import check_mask
from pipelines.core.volume import Volume, slices_last
from pipelines.evaluation.segmentation import dice_coefficient
from pipelines.models.predictor import Prediction

Mask = npt.NDArray[np.uint8]

QUICK: Final = ("certainty", "warnings", "neighbours", "log_ml")
"""Features of a prediction alone; they cost no further pass through a network."""

THOROUGH: Final = (*QUICK, "partner")
"""With the agreement with a second network."""

SMALLEST_ML: Final = 0.1
"""A structure below this counts as this large, so that an absent one has a logarithm, mL."""

Features = dict[str, float]
"""Features by `feature_key`."""


def feature_key(feature: str, structure: str) -> str:
    """Name of a feature of a structure, e.g. `"partner_lv"`."""
    return f"{feature}_{structure}"


def quick_features(prediction: Prediction, volume: Volume) -> Features:
    """Features of a prediction alone, for each structure.

    Args:
        prediction: Of `volume`, with its certainty.
        volume: The image `(X, Y, Z)` that was segmented.

    Returns:
        By `feature_key`: `certainty`, the Dice that the probabilities promise; `warnings`, number of
        plausibility warnings about the whole mask; `neighbours`, mean Dice of neighbouring slices;
        `log_ml`, natural logarithm of the volume in mL.
    """
    label, _ = slices_last(replace(volume, array=prediction.mask))
    warnings = float(len(check_mask(label.array, label.spacing_mm)))
    found: Features = {}
    for structure in FOREGROUND:
        name = LABEL_NAMES[structure]
        size_ml = structure_volume_ml(label.array, label.spacing_mm, structure)
        found[feature_key("certainty", name)] = prediction.certainty[structure]
        found[feature_key("warnings", name)] = warnings
        found[feature_key("neighbours", name)] = neighbour_overlap(label.array, structure)
        found[feature_key("log_ml", name)] = math.log(max(size_ml, SMALLEST_ML))
    return found


def partner_features(mask: Mask, second: Mask) -> Features:
    """Agreement with a second network, for each structure.

    Args:
        mask: `(X, Y, Z)` mask that is judged.
        second: Mask of the same image by another network.

    Returns:
        By `feature_key`: `partner`, Dice of the two masks.
    """
    return {
        feature_key("partner", LABEL_NAMES[structure]): agreement(mask, second, structure)
        for structure in FOREGROUND
    }


def agreement(first: Mask, second: Mask, structure: AcdcLabel) -> float:
    """Dice of one structure of two masks, 0 where neither has it: nothing found is no good sign."""
    return dice_coefficient(first == structure, second == structure) or 0.0


def neighbour_overlap(mask: Mask, structure: AcdcLabel) -> float:
    """Mean Dice of a structure in neighbouring slices that both have it, 0 where there are no two.

    Args:
        mask: `(X, Y, Z)` label map, slices last.
        structure: Structure to look at.
    """
    inside = mask == structure
    pairs = [
        (inside[:, :, z], inside[:, :, z + 1])
        for z in range(inside.shape[2] - 1)
        if inside[:, :, z].any() and inside[:, :, z + 1].any()
    ]
    overlaps = [dice_coefficient(one, other) or 0.0 for one, other in pairs]
    return sum(overlaps) / len(overlaps) if overlaps else 0.0
