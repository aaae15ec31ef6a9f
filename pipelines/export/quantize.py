"""Quantise a network, and measure what int8 costs and gains: size, latency, accuracy and agreement."""

import copy
import logging
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.files import output_folder, write_json, write_manifest
from pipelines.core.progress import show_progress
from pipelines.core.volume import read_volume, slices_last
from pipelines.datasets import prepare, prepare_xray
from pipelines.datasets.prepare import Section, read_datalist
from pipelines.datasets.prepare_xray import select
from pipelines.datasets.xray_image import Finding, read_xray
from pipelines.evaluation.classification import confusion, scores_of
from pipelines.export.formats import quantize
from pipelines.models.engines import Run, compiled, fused, to_openvino
from pipelines.models.heart import Member
from pipelines.models.weights import copy_beside, save_weights
from pipelines.models.xray import Classifier, positive_probability

CALIBRATION_IMAGES: Final = 300
"""Radiographs that a classifier is calibrated with."""

CALIBRATION_SLICES: Final = 90
"""Slices that a heart network is calibrated with."""

SLICES_EACH: Final = 3
"""Slices of a calibration volume: the first, the middle and the last."""

Item = TypeVar("Item")


def calibration_slices(member: Member, dataset_dir: Path) -> list[Tensor]:
    """Inputs `(1, C, H, W)` of a heart network, spread over the training volumes of a datalist.

    Args:
        member: Network with its preprocessing.
        dataset_dir: Prepared folder, or its datalist.

    Raises:
        DataError: If there is no datalist of volumes, or a volume cannot be read.
    """
    items = prepare.select(prepare.read_datalist(dataset_dir), "training", 0)
    inputs = []
    for item in spread(items, CALIBRATION_SLICES // SLICES_EACH):
        stack, _ = slices_last(read_volume(Path(item["image"])))
        slices = member.prepare(stack).as_tensor().movedim(-1, 0)
        chosen = np.linspace(0, len(slices) - 1, SLICES_EACH).round().astype(int)
        inputs += [slices[index : index + 1].contiguous() for index in chosen.tolist()]
    return inputs


def calibration_images(classifier: Classifier, dataset_dir: Path) -> list[Tensor]:
    """Inputs `(1, 3, H, W)` of a classifier, spread over the training images of a datalist.

    Args:
        classifier: Network with its preprocessing.
        dataset_dir: Prepared folder, or its datalist.

    Raises:
        DataError: If there is no datalist of images, or an image cannot be read.
    """
    training = prepare_xray.select(prepare.read_datalist(dataset_dir, kind="images"), "training")
    return classifier_inputs(classifier, spread(training, CALIBRATION_IMAGES))


def classifier_inputs(classifier: Classifier, items: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    """Inputs `(1, 3, H, W)` of a classifier for the items of a datalist.

    Raises:
        DataError: If an image cannot be read.
    """
    return [classifier.batch([read_xray(Path(item["image"])).pixels]) for item in items]


def spread(items: Sequence[Item], most: int) -> list[Item]:
    """At most so many items, evenly spread over the sequence."""
    return list(items[:: max(1, len(items) // most)][:most])


EAGER: Final = "PyTorch fp32"
INT8: Final = "OpenVINO int8"
SAME_RUNTIME: Final = "OpenVINO fp32"
BF16: Final = ("PyTorch bf16", "PyTorch bf16, fused", "PyTorch bf16, compiled", "OpenVINO bf16")
"""Ways in bfloat16, of which int8 is compared with the fastest."""

logger = logging.getLogger(__name__)


def runtimes(classifier: Classifier, int8: Path, example: Tensor) -> dict[str, Run]:
    """All ways that work here, by name; one that does not, such as a compiler that is missing, is logged.

    Each takes `(B, 3, H, W)` float32 and gives `(B, 2)` logits float32.

    Args:
        classifier: Network with its weights, on the CPU.
        int8: `int8.xml` of the same network.
        example: An input `(1, 3, H, W)`.

    Raises:
        ConfigError: If OpenVINO is not installed or the int8 model cannot be run.
    """
    module = classifier.module
    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format)
    last = copy.deepcopy(module).to(memory_format=torch.channels_last)
    float_model = to_openvino(module, example)
    found = {
        EAGER: _torch(plain),
        "PyTorch fp32, channels last": _torch(last),
        BF16[0]: _torch(last, torch.bfloat16),
        BF16[1]: _torch(fused(module, torch.bfloat16), torch.bfloat16),
    }
    try:
        run = _torch(torch.compile(fused(module, torch.bfloat16)), torch.bfloat16)  # type: ignore[arg-type]
        run(example)
        found[BF16[2]] = run
    except Exception as error:  # torch wraps what its C++ compiler says in errors of many kinds
        logger.warning("%s is left out: %s", BF16[2], str(error).partition("\n")[0])
    return found | {
        SAME_RUNTIME: compiled(float_model, INFERENCE_PRECISION_HINT="f32"),
        BF16[3]: compiled(float_model, INFERENCE_PRECISION_HINT="bf16"),
        INT8: compiled(int8),
    }


def _torch(module: nn.Module, dtype: torch.dtype | None = None) -> Run:
    weight = next(module.parameters())
    is_last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
    memory_format = torch.channels_last if is_last else torch.contiguous_format

    def run(batch: Tensor) -> Tensor:
        with torch.inference_mode(), torch.autocast("cpu", dtype, enabled=dtype is not None):
            found: Tensor = module(batch.contiguous(memory_format=memory_format)).float()
        return found

    return run


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
        "runtimes": {name: {} for name in ways},
        "ratios": {},
    }
    times = {size: _latencies(ways, torch.cat(list(images[:size])), rounds) for size in BATCHES}
    for size, found in times.items():
        for name, seconds in found.items():
            content["runtimes"][name][f"batch_{size}_ms"] = {
                "median": 1e3 * float(np.median(seconds)),
                "p95": 1e3 * float(np.percentile(seconds, 95)),
            }
    content["ratios"] = _ratios(times[1])
    for label, finding in enumerate(Finding):
        for index in np.flatnonzero(truth == label)[:1]:
            for name, seconds in _latencies(ways, images[index], rounds).items():
                content["runtimes"][name][f"{finding.lower()}_ms"] = 1e3 * float(np.median(seconds))
    batches = [torch.cat(list(images[first : first + 16])) for first in range(0, len(images), 16)]
    decisions = {}
    for name, run in ways.items():
        probability = np.concatenate([positive_probability(run(batch)) for batch in batches])
        decisions[name] = probability >= classifier.threshold
    for name, decided in decisions.items():
        content["runtimes"][name] |= _accuracy(truth, decided, decisions[EAGER])
    write_json(output / COMPARISON_NAME, content)
    with SummaryWriter(str(output / "tensorboard")) as writer:
        for name, found in content["runtimes"].items():
            for value in ("accuracy", "accuracy_normal", "accuracy_pneumonia", "agreement"):
                writer.add_scalar(f"{name}/{value}", found[value])
            writer.add_scalar(f"{name}/one image, ms", found["batch_1_ms"]["median"])
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


def _latencies(ways: Mapping[str, Run], batch: Tensor, rounds: int) -> dict[str, npt.NDArray[np.float64]]:
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    warm_up = 5
    for done in range(rounds + warm_up):
        for name, run in ways.items():
            begin = time.perf_counter()
            run(batch)
            seconds[name].append(time.perf_counter() - begin)
        show_progress(done + 1, rounds + warm_up, f"batch of {len(batch)}")
    return {name: np.array(found[warm_up:]) for name, found in seconds.items()}


def _ratios(seconds: dict[str, npt.NDArray[np.float64]]) -> dict[str, float]:
    """How many times faster int8 classifies one image: medians over rounds."""
    int8 = seconds[INT8]
    fastest = min(seconds.keys() & BF16, key=lambda name: float(np.median(seconds[name])))
    slower = {"over_eager_fp32": EAGER, "over_same_runtime_fp32": SAME_RUNTIME, "over_best_bf16": fastest}
    return {ratio: float(np.median(seconds[name] / int8)) for ratio, name in slower.items()}


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


def quantize_and_compare(
    network: str,
    dataset_dir: Path,
    output: Path,
    *,
    weights: Path | None = None,
    section: Section = "test",
    rounds: int = ROUNDS,
) -> tuple[Path, dict[str, Any]]:
    """Write `int8.xml`, `int8.bin`, `quantization.json` and a manifest.

    Args:
        network: Network of the chest X-ray bundle.
        dataset_dir: Prepared folder; calibration images are spread evenly over its training section.
        output: Folder for the results; made if it does not exist.
        weights: File to use instead of the bundle's own.
        section: Images that accuracies are measured on.
        rounds: Rounds of the time measurement.

    Returns:
        Path of `int8.xml`, and the content of `quantization.json`.

    Raises:
        ConfigError: If weights or packages are missing.
        DataError: If the folder is not prepared or an image cannot be read.
        OutputError: If the results cannot be written.
    """
    datalist = read_datalist(dataset_dir, kind="images")
    classifier = Classifier.load(network, weights=weights, device="cpu")
    calibration = calibration_images(classifier, dataset_dir)
    measured = select(datalist, section)
    copy_beside(classifier.folder, output_folder(output))
    model = quantize(classifier, calibration, output)
    truth = np.array([item["label"] for item in measured], dtype=np.int64)
    inputs = classifier_inputs(classifier, measured)
    content = compare(classifier, model, inputs, truth, output, rounds=rounds)
    write_manifest(
        output,
        network=network,
        section=section,
        leaks_patients=datalist["leaks_patients"],
        calibration_images=len(calibration),
        outputs=[model.name, model.with_suffix(".bin").name, COMPARISON_NAME],
    )
    return model, content
