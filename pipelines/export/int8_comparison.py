"""What int8 costs and gains: size, latency, accuracy per class, agreement of decisions."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.core.files import write_json
from pipelines.core.progress import Progress
from pipelines.evaluation.classification import confusion, scores_of
from pipelines.export.runtimes import BF16, EAGER, INT8, SAME_RUNTIME, Runtime, runtimes
from pipelines.models.checkpoints import save_weights
from pipelines.models.classifier import Classifier, positive_probability

COMPARISON_NAME: Final = "quantization.json"
BATCHES: Final = (1, 16)
ROUNDS: Final = 60


def compare(
    classifier: Classifier,
    int8: Path,
    images: Sequence[Tensor],
    truth: npt.NDArray[np.int64],
    output: Path,
    *,
    rounds: int = ROUNDS,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure the int8 model against the float one, and write `quantization.json`.

    All ways take turns in each round, so that a change of the machine's load meets
    all alike; ratios are medians over rounds. Nothing else should run meanwhile.

    Args:
        classifier: Network with weights and threshold, on the CPU.
        int8: Its `int8.xml`.
        images: Inputs `(1, 3, H, W)` of labelled images.
        truth: `(N,)` 0 normal, 1 pneumonia.
        output: Existing folder that takes the file.
        rounds: Rounds that are counted.
        progress: Called with rounds done, rounds in all, and what is measured.

    Returns:
        The content of the file: `sizes`, `runtimes` with latencies in ms and accuracies, `ratios`.

    Raises:
        ConfigError: As for `runtimes`.
        OutputError: If the file cannot be written.
    """
    ways = runtimes(classifier, int8, images[0])
    content: dict[str, Any] = {
        "threads": torch.get_num_threads(),
        "size_px": list(images[0].shape[2:]),
        "images": len(images),
        "rounds": rounds,
        "sizes": _sizes(classifier, int8, output),
        "runtimes": {way.name: {} for way in ways},
        "ratios": {},
    }
    times = {size: _latencies(ways, torch.cat(list(images[:size])), rounds, progress) for size in BATCHES}
    for size, found in times.items():
        for name, seconds in found.items():
            content["runtimes"][name][f"batch_{size}_ms"] = {
                "median": 1e3 * float(np.median(seconds)),
                "p95": 1e3 * float(np.percentile(seconds, 95)),
            }
    content["ratios"] = _ratios(times[1])
    batches = [torch.cat(list(images[first : first + 16])) for first in range(0, len(images), 16)]
    decisions = {}
    for way in ways:
        probability = np.concatenate([positive_probability(way.run(batch)) for batch in batches])
        decisions[way.name] = probability >= classifier.threshold
    for name, decided in decisions.items():
        content["runtimes"][name] |= _accuracy(truth, decided, decisions[EAGER])
    write_json(output / COMPARISON_NAME, content)
    return content


def _sizes(classifier: Classifier, int8: Path, work: Path) -> dict[str, int]:
    """Bytes of the weights in 32 bits, and of the int8 model with its description."""
    whole = work / ".part-fp32.pt"
    save_weights(classifier.module, whole)
    try:
        return {
            "fp32_bytes": whole.stat().st_size,
            "int8_bytes": int8.stat().st_size + int8.with_suffix(".bin").stat().st_size,
        }
    finally:
        whole.unlink()


def _latencies(
    ways: Sequence[Runtime], batch: Tensor, rounds: int, progress: Progress | None
) -> dict[str, npt.NDArray[np.float64]]:
    seconds: dict[str, list[float]] = {way.name: [] for way in ways}
    warm_up = 5
    for done in range(rounds + warm_up):
        for way in ways:
            begin = time.perf_counter()
            way.run(batch)
            seconds[way.name].append(time.perf_counter() - begin)
        if progress is not None:
            progress(done + 1, rounds + warm_up, f"batch of {len(batch)}")
    return {name: np.array(found[warm_up:]) for name, found in seconds.items()}


def _ratios(seconds: dict[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """How many times faster int8 classifies one image: medians over rounds."""
    int8 = seconds[INT8]
    fastest = min(
        (name for name in BF16 if name in seconds), key=lambda name: float(np.median(seconds[name]))
    )
    return {
        "over_eager_fp32": float(np.median(seconds[EAGER] / int8)),
        "over_same_runtime_fp32": float(np.median(seconds[SAME_RUNTIME] / int8)),
        "over_best_bf16": float(np.median(seconds[fastest] / int8)),
    }


def _accuracy(
    truth: npt.NDArray[np.int64], decided: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_]
) -> dict[str, float]:
    scores = scores_of(confusion(truth, decided))
    return {
        "accuracy": float(scores["accuracy"]),
        "accuracy_normal": float(scores["specificity"]),
        "accuracy_pneumonia": float(scores["sensitivity"]),
        "agreement": float((decided == reference).mean()),
    }
