"""A study of the explanations of an evaluation: wrong and right images, methods and checks."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final, get_args

import numpy as np

from pipelines.core.files import output_folder, write_json
from pipelines.core.manifest import write_manifest
from pipelines.core.progress import Progress
from pipelines.datasets.chest_xray import Finding
from pipelines.datasets.xray_image import read_xray
from pipelines.evaluation.classification import read_cases
from pipelines.evaluation.xray_errors import wrongness
from pipelines.explanation.checks import DELETED, attribution_shares, deletion, randomised_likeness
from pipelines.explanation.explain import overlay_heat_map
from pipelines.explanation.heat_map import Baseline, Method, heat_map
from pipelines.models.classifier import Classifier

STUDY_NAME: Final = "explanations.json"
OF_EACH: Final = 5
"""Wrong and right images that are shown."""

STEPS: Final = (16, 32, 64, 128)
"""Steps of the path at which the completeness error is measured."""


@dataclass(frozen=True, slots=True)
class StudiedCase:
    """One image of the study.

    Attributes:
        image: Path.
        finding: Its label.
        probability: Of pneumonia.
        is_correct: Whether the decision is right.
        overlay: Name of its picture.
        shares: For each method, as from `attribution_shares`.
        deletion: For each method, the score while its pixels are deleted, as from `deletion`.
        completeness: For each baseline and number of steps, the completeness error.
    """

    image: str
    finding: str
    probability: float
    is_correct: bool
    overlay: str
    shares: dict[str, dict[str, float]]
    deletion: dict[str, dict[str, Any]]
    completeness: dict[str, dict[str, float]]


def study_explanations(
    evaluation: Path,
    output: Path,
    classifier: Classifier,
    *,
    of_each: int = OF_EACH,
    seed: int = 0,
    progress: Progress | None = None,
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
        progress: Called with images done, images in all and the image's name.

    Returns:
        The content of `explanations.json`: `cases`, and `randomised` for each method.

    Raises:
        DataError: If there is no evaluation, or an image cannot be read.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    chosen = choose_cases(read_cases(evaluation), of_each=of_each, seed=seed)
    studied: list[StudiedCase] = []
    for number, case in enumerate(chosen, start=1):
        studied.append(_study(case, number, output, classifier))
        if progress is not None:
            progress(number, len(chosen) + 1, Path(case["image"]).name)
    images = [read_xray(Path(case["image"])).pixels for case in chosen]
    content = {
        "deleted": DELETED,
        "cases": [asdict(case) for case in studied],
        "randomised": {
            method: randomised_likeness(images, classifier, method=method)
            for method in ("integrated_gradients", "grad_cam")
        },
    }
    write_json(output / STUDY_NAME, content)
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


def _study(case: dict[str, Any], number: int, output: Path, classifier: Classifier) -> StudiedCase:
    image = read_xray(Path(case["image"])).pixels
    maps = {method: heat_map(image, method, classifier=classifier) for method in get_args(Method)}
    verdict = "right" if case["is_correct"] else "wrong"
    overlay = output / f"{number:02d}_{verdict}_{Path(case['image']).stem}.png"
    title = f"{Path(case['image']).name}: {case['finding'].lower()}, pneumonia {case['probability']:.2f}"
    overlay_heat_map(image, maps["integrated_gradients"], overlay, title=title)
    curves = {method: deletion(image, found, classifier) for method, found in maps.items()}
    return StudiedCase(
        image=case["image"],
        finding=case["finding"],
        probability=case["probability"],
        is_correct=case["is_correct"],
        overlay=overlay.name,
        shares={method: attribution_shares(found) for method, found in maps.items()},
        deletion={
            method: {"highlighted": curve.highlighted, "random": curve.random, "gain": curve.gain}
            for method, curve in curves.items()
        },
        completeness={
            baseline: {str(steps): _completeness(image, classifier, baseline, steps) for steps in STEPS}
            for baseline in get_args(Baseline)
        },
    )


def _completeness(image: Any, classifier: Classifier, baseline: Baseline, steps: int) -> float:
    found = heat_map(image, classifier=classifier, baseline=baseline, steps=steps)
    return float(found.completeness_error or 0.0)
