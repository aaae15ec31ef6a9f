"""How near an export is to its source, on whole volumes or radiographs."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from torch import Tensor

from pipelines.core.volume import Volume
from pipelines.evaluation.segmentation import MEAN, structure_dice
from pipelines.models.classifier import Classifier, Pixels
from pipelines.models.member import Member
from pipelines.models.openvino_runtime import Run
from pipelines.models.predictor import Predictor

DICE: Final = "smallest Dice between both masks"
DECISIONS: Final = "share of equal decisions"


@dataclass(frozen=True, slots=True)
class Fidelity:
    """What an export and its source make of the same images.

    Attributes:
        images: Number of volumes or radiographs.
        measure: What `agreement` is: `DICE` or `DECISIONS`.
        agreement: Of hearts the smallest mean Dice between both masks of a volume, of radiographs the
            share that is decided alike.
        difference: Largest difference of a probability, over all voxels of all volumes where the network
            sees them, or over all radiographs.
    """

    images: int
    measure: str
    agreement: float
    difference: float


def compare_members(source: Member, export: Member, volumes: Sequence[Volume]) -> Fidelity:
    """Masks and probabilities of two networks with their transforms, on the same volumes.

    Args:
        source: Network as it was trained.
        export: The exported one.
        volumes: `(X, Y, Z)` images, at least one.

    Raises:
        DataError: If a volume is not 3-D.
    """
    agreements, differences = [], []
    for volume in volumes:
        kept = [_Kept(member.logits) for member in (source, export)]
        masks = [
            Predictor({"": member.run_by(run)}).predict(volume).mask
            for member, run in zip((source, export), kept, strict=True)
        ]
        dice = structure_dice(masks[1], masks[0])[MEAN]
        agreements.append(1.0 if dice is None else dice)
        probabilities = [run.logits.softmax(dim=1) for run in kept]
        differences.append(float((probabilities[0] - probabilities[1]).abs().max()))
    return Fidelity(len(volumes), DICE, min(agreements), max(differences))


def compare_classifiers(source: Classifier, export: Classifier, images: Sequence[Pixels]) -> Fidelity:
    """Decisions and probabilities of two classifiers, on the same radiographs.

    Args:
        source: Network as it was trained.
        export: The exported one.
        images: `(H, W)` grey images, at least one.
    """
    first, second = (model.probabilities(images) for model in (source, export))
    alike = (first >= source.threshold) == (second >= export.threshold)
    return Fidelity(len(images), DECISIONS, float(alike.mean()), float(np.abs(first - second).max()))


class _Kept:
    """Runs a network and keeps what it gave last."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.logits = torch.empty(0)

    def __call__(self, slices: Tensor) -> Tensor:
        self.logits = self._run(slices)
        return self.logits
