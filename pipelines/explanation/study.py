"""A study of the explanations of an evaluation: whether heat maps can be trusted."""

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from scipy.integrate import trapezoid
from scipy.stats import spearmanr
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder, write_json, write_manifest
from pipelines.core.progress import show_progress
from pipelines.datasets.xray_image import Finding, read_xray
from pipelines.evaluation.classification import read_cases
from pipelines.evaluation.xray_errors import wrongness
from pipelines.explanation.explain import Baseline, HeatMap, Method, baseline_of, heat_map, overlay_heat_map
from pipelines.models.weights import stages
from pipelines.models.xray import Classifier, Pixels

DELETED: Final = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)
"""Shares of the pixels that are deleted."""

FRAME: Final = 0.1
"""Width of the picture's frame as a share of its sides: markers, borders, shoulders, what lies beside."""

CHEST_CENTER: Final = (0.47, 0.5)
CHEST_RADII: Final = (0.40, 0.42)
"""Middle and half axes, row and column, of the ellipse that stands for the chest, as shares of the sides."""

FloatArray = npt.NDArray[np.float64]


def randomised_likeness(
    images: Sequence[Pixels],
    classifier: Classifier,
    *,
    method: Method = "integrated_gradients",
) -> dict[str, float]:
    """How alike heat maps stay when the network's stages are made random, from the last one on.

    A heat map that shows what the network has learnt changes; one that only
    traces edges of the picture stays.

    Args:
        images: `(H, W)` grey values, at least one.
        classifier: Network whose explanations are checked; it stays as it is.
        method: As for `heat_map`.

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
        torch.manual_seed(0)
        for stage, modules in reversed(stages(changed.module).items()):
            for module in modules:
                if callable(reset := getattr(module, "reset_parameters", None)):
                    reset()
            after = [heat_map(image, method, classifier=changed, steps=steps) for image in images]
            found = [
                spearmanr(np.abs(first.values), np.abs(second.values), axis=None).statistic
                for first, second in zip(before, after, strict=True)
            ]
            likeness[stage] = float(np.mean(found))
    return likeness


def deletion(
    image: Pixels, found: HeatMap, classifier: Classifier, *, baseline: Baseline = "blurred"
) -> dict[str, Any]:
    """Delete pixels, those that speak most for the decision first, and see the score fall.

    Args:
        image: `(H, W)` grey values, 0 black to 1 white.
        found: Its heat map.
        classifier: Network that decided.
        baseline: What a deleted pixel becomes; blurred leaves no edges of its own.

    Returns:
        Score relative to that of the whole image by share of `DELETED`: `highlighted`, those that speak most
        for the decision first, and `random`, in random order. `gain` is the area between the curves: above
        0, the highlighted pixels matter more than others.
    """
    sign = 1.0 if found.score > 0 else -1.0
    order = np.argsort(-sign * found.values.ravel(), kind="stable")
    shuffled = np.random.default_rng(0).permutation(order.size)
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
    highlighted, random = curves
    gain = float(trapezoid(random - highlighted, DELETED))
    return {"highlighted": highlighted, "random": random, "gain": gain}


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


STUDY_NAME: Final = "explanations.json"
OF_EACH: Final = 5
"""Wrong and right images that are shown."""

STEPS: Final = (16, 32, 64, 128)
"""Steps of the path at which the completeness error is measured."""


def study_explanations(
    evaluation: Path, output: Path, classifier: Classifier, *, of_each: int = OF_EACH, seed: int = 0
) -> dict[str, Any]:
    """Explain wrong and right images of an evaluation, and check the explanations.

    Wrong are the images that the network was most certain of; right ones are drawn at
    random, of both findings in turn. Writes an overlay for each, and `explanations.json`.

    Args:
        evaluation: Folder of `thorax evaluate` with the same network.
        output: Folder for the results; made if it does not exist.
        classifier: Network that was evaluated.
        of_each: Number of wrong images, and of right ones.
        seed: Seed of the draw.

    Returns:
        The content of `explanations.json`: `cases`, and `randomised` for each method.

    Raises:
        DataError: If there is no evaluation, or an image cannot be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    chosen = choose_cases(read_cases(evaluation), of_each=of_each, seed=seed)
    studied: list[dict[str, Any]] = []
    for number, case in enumerate(chosen, start=1):
        studied.append(_study(case, number, output, classifier))
        show_progress(number, len(chosen) + 1, Path(case["image"]).name)
    images = [read_xray(Path(case["image"])).pixels for case in chosen]
    content = {
        "deleted": DELETED,
        "cases": studied,
        "randomised": {
            method: randomised_likeness(images, classifier, method=method)
            for method in ("integrated_gradients", "grad_cam")
        },
    }
    write_json(output / STUDY_NAME, content)
    with SummaryWriter(str(output / "tensorboard")) as writer:
        for number, one in enumerate(studied, start=1):
            pixels = np.asarray(Image.open(output / one["overlay"]).convert("RGB"))
            writer.add_image(f"explanations/{Path(one['overlay']).stem}", pixels, dataformats="HWC")
            for method, found in one["deletion"].items():
                writer.add_scalar(f"deletion gain/{method}", found["gain"], number)
    write_manifest(output, evaluation=str(evaluation), outputs=[STUDY_NAME])
    return content


def choose_cases(cases: Sequence[dict[str, Any]], *, of_each: int, seed: int) -> list[dict[str, Any]]:
    """The wrong cases of which the network was most certain, then right ones of both findings in turn."""
    generator = np.random.default_rng(seed)
    wrong = sorted((case for case in cases if not case["is_correct"]), key=wrongness, reverse=True)
    right: list[dict[str, Any]] = []
    pools = [
        [case for case in cases if case["is_correct"] and case["finding"] == finding] for finding in Finding
    ]
    orders = [list(generator.permutation(len(pool))) for pool in pools]
    for index in range(of_each):
        pool, order = pools[(index + 1) % len(pools)], orders[(index + 1) % len(pools)]
        if order:
            right.append(pool[order.pop()])
    return wrong[:of_each] + right


def _study(case: dict[str, Any], number: int, output: Path, classifier: Classifier) -> dict[str, Any]:
    """An image of the study: its values by method, and as `completeness` by baseline and number of steps."""
    image = read_xray(Path(case["image"])).pixels
    maps = {method: heat_map(image, method, classifier=classifier) for method in get_args(Method)}
    verdict = "right" if case["is_correct"] else "wrong"
    overlay = output / f"{number:02d}_{verdict}_{Path(case['image']).stem}.png"
    title = f"{Path(case['image']).name}: {case['finding'].lower()}, pneumonia {case['probability']:.2f}"
    overlay_heat_map(image, maps["integrated_gradients"], overlay, title=title)
    return {
        **{name: case[name] for name in ("image", "finding", "probability", "is_correct")},
        "overlay": overlay.name,
        "shares": {method: attribution_shares(found) for method, found in maps.items()},
        "deletion": {method: deletion(image, found, classifier) for method, found in maps.items()},
        "completeness": {
            baseline: {str(steps): _completeness(image, classifier, baseline, steps) for steps in STEPS}
            for baseline in get_args(Baseline)
        },
    }


def _completeness(image: Pixels, classifier: Classifier, baseline: Baseline, steps: int) -> float:
    found = heat_map(image, classifier=classifier, baseline=baseline, steps=steps)
    return float(found.completeness_error or 0.0)
