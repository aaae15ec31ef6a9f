"""Whether a heat map can be trusted: weights made random, pixels deleted, share inside the chest.

References:
    Adebayo et al., Sanity Checks for Saliency Maps, NeurIPS 2018, arXiv:1810.03292.
    Petsiuk, Das, Saenko, RISE, BMVC 2018, arXiv:1806.07421 (deletion).
"""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.integrate import trapezoid
from scipy.stats import spearmanr
from torch import nn

from pipelines.core.errors import ConfigError
from pipelines.explanation.heat_map import Baseline, HeatMap, Method, baseline_of, heat_map
from pipelines.models.classifier import Classifier, Pixels
from pipelines.models.pretrained import stages

DELETED: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Shares of the pixels that are deleted."""

FRAME: Final = 0.1
"""Width of the picture's frame as a share of its sides: markers, borders, shoulders, what lies beside."""

CHEST_CENTER: Final = (0.47, 0.5)
CHEST_RADII: Final = (0.40, 0.42)
"""Middle and half axes, row and column, of the ellipse that stands for the chest, as shares of the sides."""

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Deletion:
    """Score while pixels are deleted, relative to that of the whole image.

    Attributes:
        highlighted: `(len(DELETED),)`, those that speak most for the decision first.
        random: The same in random order.
    """

    highlighted: FloatArray
    random: FloatArray

    @property
    def gain(self) -> float:
        """Area between the curves: above 0, the highlighted pixels matter more than others."""
        return float(trapezoid(self.random - self.highlighted, DELETED))


def randomised_likeness(
    images: Sequence[Pixels],
    classifier: Classifier,
    *,
    method: Method = "integrated_gradients",
    seed: int = 0,
) -> dict[str, float]:
    """How alike heat maps stay when the network's stages are made random, from the last one on.

    A heat map that shows what the network has learnt changes; one that only
    traces edges of the picture stays.

    Args:
        images: `(H, W)` grey values, at least one.
        classifier: Network whose explanations are checked; it stays as it is.
        method: As for `heat_map`.
        seed: Seed of the random weights.

    Returns:
        For each stage from the last to the first: mean rank correlation of the sizes of the
        attribution before and after it, and all stages behind it, were made random.

    Raises:
        ConfigError: If there is no image.
    """
    if not images:
        raise ConfigError("expected images to check explanations with, found none")
    steps = 32
    before = [heat_map(image, method, classifier=classifier, steps=steps) for image in images]
    changed = copy.copy(classifier)
    changed.module = copy.deepcopy(classifier.module)
    likeness: dict[str, float] = {}
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        for stage, modules in reversed(stages(changed.module).items()):
            for module in modules:
                _randomise(module)
            after = [heat_map(image, method, classifier=changed, steps=steps) for image in images]
            found = [_likeness(first, second) for first, second in zip(before, after, strict=True)]
            likeness[stage] = float(np.mean(found))
    return likeness


def deletion(
    image: Pixels, found: HeatMap, classifier: Classifier, *, baseline: Baseline = "blurred", seed: int = 0
) -> Deletion:
    """Delete pixels, those that speak most for the decision first, and see the score fall.

    Args:
        image: `(H, W)` grey values, 0 black to 1 white.
        found: Its heat map.
        classifier: Network that decided.
        baseline: What a deleted pixel becomes; blurred leaves no edges of its own.
        seed: Seed of the random order that it is compared with.
    """
    sign = 1.0 if found.score > 0 else -1.0
    order = np.argsort(-sign * found.values.ravel(), kind="stable")
    shuffled = np.random.default_rng(seed).permutation(order.size)
    empty = baseline_of(torch.from_numpy(np.ascontiguousarray(image))[None, None], baseline)[0, 0].numpy()
    curves = []
    for pixels in (order, shuffled):
        copies = []
        for share in DELETED:
            changed = image.copy()
            chosen = pixels[: round(share * pixels.size)]
            changed.ravel()[chosen] = empty.ravel()[chosen]
            copies.append(changed)
        logits = classifier.logits(classifier.batch(copies)).double().numpy()
        scores = sign * (logits[:, 1] - logits[:, 0])
        curves.append(scores / max(abs(float(scores[0])), 1e-6))
    return Deletion(*curves)


def chest_mask(shape: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """`(H, W)` ellipse that holds lungs, heart and mediastinum of most frontal radiographs.

    It is coarse, the same for every image: it tells the chest from borders,
    markers, arms and neck, not lung from heart.
    """
    rows, columns = ((np.arange(length) + 0.5) / length for length in shape)
    distance = ((rows - CHEST_CENTER[0]) / CHEST_RADII[0])[:, None] ** 2
    distance = distance + ((columns - CHEST_CENTER[1]) / CHEST_RADII[1])[None, :] ** 2
    inside: npt.NDArray[np.bool_] = distance <= 1
    return inside


def attribution_shares(found: HeatMap) -> dict[str, float]:
    """Shares of the attribution's size inside the chest and in the picture's frame, and those areas' own.

    Attribution that were spread evenly would have a share equal to the area.
    """
    size = np.abs(found.values.astype(np.float64))
    total = max(float(size.sum()), 1e-12)
    chest = chest_mask((size.shape[0], size.shape[1]))
    frame = np.ones(size.shape, dtype=np.bool_)
    rows, columns = (round(FRAME * length) for length in size.shape)
    frame[rows : size.shape[0] - rows, columns : size.shape[1] - columns] = False
    return {
        "chest": float(size[chest].sum()) / total,
        "chest_area": float(chest.mean()),
        "frame": float(size[frame].sum()) / total,
        "frame_area": float(frame.mean()),
    }


def _randomise(module: nn.Module) -> None:
    reset = getattr(module, "reset_parameters", None)
    if callable(reset):
        reset()


def _likeness(first: HeatMap, second: HeatMap) -> float:
    return float(spearmanr(np.abs(first.values), np.abs(second.values), axis=None).statistic)
