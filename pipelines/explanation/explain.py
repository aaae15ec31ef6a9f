"""Attribution maps of radiographs, and feature maps of layers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal, get_args

import numpy as np
import numpy.typing as npt
import torch
from captum.attr import IntegratedGradients, LayerGradCam, Occlusion
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import atomic_path, output_folder, write_csv
from pipelines.core.records import Problem
from pipelines.inference.classify import classify_one, find_xrays, read_each, title_of
from pipelines.models.xray import Classifier, Pixels

Maps = npt.NDArray[np.float32]

GATE: Final = "attention.psi"
"""Part of the name of an attention gate's coefficients in MONAI's AttentionUnet.

References:
    Oktay et al., MIDL 2018, arXiv:1804.03999.
"""


@contextmanager
def recorded(network: nn.Module) -> Iterator[dict[str, Maps]]:
    """Record what each layer answers while the block runs.

    A layer that runs twice is recorded the last time; layers whose answer is no batch of maps
    are not recorded.

    Args:
        network: Runs on one slice `(1, C, H, W)` within the block.

    Yields:
        `(C, h, w)` float32 of each layer by its name, in the order in which they ended.
    """
    outputs: dict[str, Maps] = {}

    def keep(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor) and output.ndim == 4:
            outputs.pop(name, None)
            outputs[name] = output[0].detach().float().cpu().numpy()

    layers = [(name, module) for name, module in network.named_modules() if name]
    handles = [module.register_forward_hook(partial(keep, name)) for name, module in layers]
    try:
        yield outputs
    finally:
        for handle in handles:
            handle.remove()


def chosen_layers(outputs: Mapping[str, Maps], names: Sequence[str] | None = None) -> list[str]:
    """Layers to show: those named, or the last one before each change of resolution.

    Args:
        outputs: What the layers answered, in their order.
        names: Names of layers, None to choose.

    Raises:
        ConfigError: If there is no such layer; the message lists those there are.
    """
    if names:
        unknown = [name for name in names if name not in outputs]
        if unknown:
            raise ConfigError(
                f"expected a layer of the network, found {', '.join(unknown)}; "
                f"its layers are {', '.join(outputs)}"
            )
        return list(names)
    shown = [name for name in outputs if not _is_in_gate(name)]
    sizes = [outputs[name].shape[1:] for name in shown] + [()]
    return [name for name, size, after in zip(shown, sizes, sizes[1:], strict=False) if size != after]


def attention_gates(outputs: Mapping[str, Maps]) -> dict[str, Maps]:
    """Coefficients `(h, w)` of each attention gate, 0 closed to 1 open, coarse to fine.

    Args:
        outputs: What the layers answered, in their order.

    Returns:
        By the name of the attention block; empty for a network without.
    """
    gates = {
        name.partition(f".{GATE}")[0] + ".attention": maps[0]
        for name, maps in outputs.items()
        if _is_in_gate(name) and len(maps) == 1
    }
    return dict(sorted(gates.items(), key=lambda pair: pair[1].size))


def liveliest_channels(maps: Maps, count: int) -> list[int]:
    """Channels of `(C, h, w)` that vary most over the slice, the most first."""
    return [int(channel) for channel in np.argsort(-maps.std(axis=(1, 2)), kind="stable")[:count]]


def _is_in_gate(name: str) -> bool:
    return GATE in name


Method = Literal["integrated_gradients", "grad_cam", "occlusion"]
Baseline = Literal["black", "mean", "blurred"]

STEPS: Final = (32, 64, 128, 256)
"""Steps of the path that are tried until the completeness error is small."""

SMALL_ERROR: Final = 0.05
"""Completeness error, relative to the change of the score, at which no more steps are taken."""

PARALLEL_STEPS: Final = 8
"""Points of the path that go through the network at a time: more only cost memory."""

WINDOWS: Final = 7
"""Squares that occlusion covers side by side; they move by half of their side."""

BLUR: Final = 8
"""Factor by which the blurred baseline is shrunk and enlarged."""


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Attribution of a decision to the pixels of an image.

    Attributes:
        values: `(H, W)` float32 on the image's own grid; above 0 speaks for pneumonia, below
            against it, in logits. Integrated Gradients add up to the change of the score.
        score: Logit of pneumonia minus that of normal.
        baseline_score: The same of the baseline, None where the method has none.
        completeness_error: How far the sum of the attribution is from the change of the score,
            relative to it; None where the method does not promise it.
        steps: Steps of the path, None where there is none.
    """

    values: npt.NDArray[np.float32]
    score: float
    baseline_score: float | None = None
    completeness_error: float | None = None
    steps: int | None = None


def heat_map(
    image: Pixels,
    method: Method = "integrated_gradients",
    *,
    classifier: Classifier,
    baseline: Baseline = "black",
    steps: int | None = None,
) -> HeatMap:
    """Signed attribution of the score for pneumonia on the image's own grid.

    Args:
        image: `(H, W)` grey values, 0 black to 1 white.
        method: Integrated Gradients, Grad-CAM of the last stage, or occlusion by the baseline's grey.
        classifier: Network whose decision is explained; gradients are taken in float32.
        baseline: What "no information" looks like: a black, a mean grey, or a blurred image.
        steps: Steps of the path of Integrated Gradients; by default as many of `STEPS` as the
            completeness error asks for.

    Raises:
        ConfigError: If the method or baseline is unknown, or steps are below 1.
    """
    if method not in get_args(Method) or baseline not in get_args(Baseline):
        raise ConfigError(
            f"expected a method among {', '.join(get_args(Method))} and a baseline among "
            f"{', '.join(get_args(Baseline))}, found {method!r} and {baseline!r}"
        )
    if steps is not None and steps < 1:
        raise ConfigError(f"expected at least 1 step, found {steps}")
    grey = classifier.resize(torch.from_numpy(np.ascontiguousarray(image))[None])
    grey = torch.as_tensor(grey)[None].as_subclass(Tensor).to(classifier.device)
    start = baseline_of(grey, baseline)
    model = _Score(classifier)
    with torch.no_grad():
        score, first = float(model(grey)), float(model(start))
    if method == "integrated_gradients":
        values, used = _integrate(model, grey, start, score - first, steps)
        error = abs(float(values.sum()) - (score - first)) / max(abs(score - first), 1e-6)
        return HeatMap(_on_grid(values, image.shape), score, first, error, used)
    if method == "grad_cam":
        pooling = next(
            part for name, part in classifier.module.named_children() if name in ("avgpool", "global_pool")
        )
        values = LayerGradCam(model, pooling).attribute(
            grey, attribute_to_layer_input=True, relu_attributions=False
        )
        values = F.interpolate(values, grey.shape[2:], mode="bilinear", align_corners=False)
        return HeatMap(_on_grid(values, image.shape), score)
    window = [max(2, length // WINDOWS) for length in grey.shape[2:]]
    with torch.no_grad():
        values = Occlusion(model).attribute(
            grey,
            sliding_window_shapes=(1, *window),
            strides=(1, *(length // 2 for length in window)),
            baselines=start,
            perturbations_per_eval=PARALLEL_STEPS,
        )
    return HeatMap(_on_grid(values, image.shape), score, first)


class _Score(nn.Module):
    """Logit of pneumonia minus that of normal of a grey image `(B, 1, H, W)`, `(B,)`."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.module: nn.Module = classifier.module
        self.to_input: Callable[[Tensor], Tensor] = classifier.to_input

    def forward(self, grey: Tensor) -> Tensor:
        logits = self.module(self.to_input(grey))
        difference: Tensor = logits[:, 1] - logits[:, 0]
        return difference


def baseline_of(grey: Tensor, kind: Baseline) -> Tensor:
    """What "no information" looks like for grey images `(B, 1, H, W)`, of the same shape."""
    if kind == "black":
        return torch.zeros_like(grey)
    if kind == "mean":
        return torch.full_like(grey, float(grey.mean()))
    small = F.interpolate(grey, scale_factor=1 / BLUR, mode="area")
    return F.interpolate(small, grey.shape[2:], mode="bilinear", align_corners=False)


def _integrate(
    model: _Score, grey: Tensor, start: Tensor, change: float, steps: int | None
) -> tuple[Tensor, int]:
    gradients = IntegratedGradients(model)
    for count in (steps,) if steps else STEPS:
        values = gradients.attribute(
            grey, baselines=start, n_steps=count, internal_batch_size=PARALLEL_STEPS
        ).detach()
        if abs(float(values.sum()) - change) <= SMALL_ERROR * abs(change):
            break
    return values, count


def _on_grid(values: Tensor, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    """`(H, W)` of the image from the network's grid; the sum stays but for interpolation at the borders."""
    resized = F.interpolate(
        values.detach().float(), (shape[0], shape[1]), mode="bilinear", align_corners=False
    )
    area = values.shape[2] * values.shape[3] / (shape[0] * shape[1])
    found: npt.NDArray[np.float32] = (resized * area)[0, 0].cpu().numpy().astype(np.float32)
    return found


TABLE_NAME: Final = "explanations.csv"
COLUMNS: Final = (
    "image",
    "overlay",
    "probability_pneumonia",
    "method",
    "steps",
    "completeness_error",
    "problem",
)

STRONGEST_PERCENTILE: Final = 99.5
"""Of the attribution's size; what is stronger is drawn in the strongest colour."""

DPI: Final = 110


@dataclass(frozen=True, slots=True)
class ExplanationReport:
    """What `explain` wrote.

    Attributes:
        overlays: Pictures, in the order of the images.
        problems: Files skipped, and why.
        table: Path of the table.
    """

    overlays: list[Path]
    problems: list[Problem]
    table: Path


def explain(
    inputs: Sequence[Path], output: Path, classifier: Classifier, *, method: Method = "integrated_gradients"
) -> ExplanationReport:
    """Write an overlay for each radiograph, and `explanations.csv`.

    A file that cannot be read, or is hardly a frontal chest film, has a row with the problem, and the rest
    goes on.

    Args:
        inputs: Existing JPEG, PNG or DICOM files, or folders of them at any depth.
        output: Folder for the overlays and the table; made if it does not exist.
        classifier: Network with its threshold.
        method: As for `heat_map`.

    Raises:
        ConfigError: If the method is unknown.
        DataError: If a path does not exist, or no image is found or can be read in all of them.
        OutputError: If the results cannot be written.
    """
    output_folder(output)
    paths = find_xrays(inputs)
    overlays: list[Path] = []
    problems: list[Problem] = []
    rows: list[dict[str, Any]] = []
    for path, image in read_each(paths):
        if not isinstance(image, Problem):
            result = classify_one(path, image, classifier)
            if result.decision is not None:
                overlay = output / f"{len(rows) + 1:04d}_{path.stem}.png"
                found = heat_map(image.pixels, method, classifier=classifier)
                overlay_heat_map(image.pixels, found, overlay, title=title_of(result, classifier))
                overlays.append(overlay)
                error = found.completeness_error
                rows.append(
                    {
                        "image": str(path),
                        "overlay": overlay.name,
                        "probability_pneumonia": f"{result.probability:.4f}",
                        "method": method,
                        "steps": found.steps,
                        "completeness_error": None if error is None else f"{error:.4f}",
                    }
                )
                continue
            image = Problem(path.stem, path, "; ".join(result.warnings))
        problems.append(image)
        rows.append({"image": str(path), "problem": image.reason})
    table = output / TABLE_NAME
    write_csv(table, COLUMNS, rows)
    if not overlays:
        raise DataError(
            f"expected a readable radiograph, found none of {len(paths)}: {problems[0].reason}; see {table}"
        )
    return ExplanationReport(overlays, problems, table)


def overlay_heat_map(image: Pixels, found: HeatMap, path: Path, *, title: str = "") -> None:
    """Draw an image beside itself with the attribution on it: red for pneumonia, blue against.

    Args:
        image: `(H, W)` grey values, 0 black to 1 white.
        found: Attribution on the same grid.
        path: PNG to write.
        title: Line above the picture.

    Raises:
        OutputError: If it cannot be written.
    """
    scaled = relative_strength(found.values)
    figure = Figure(figsize=(8.4, 4.2 * image.shape[0] / image.shape[1] + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    plain, explained = figure.subplots(1, 2)
    for axes in (plain, explained):
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_axis_off()
    shown = explained.imshow(scaled, cmap="bwr", vmin=-1, vmax=1, alpha=np.sqrt(np.abs(scaled)))
    bar = figure.colorbar(shown, ax=explained, ticks=[-1, 0, 1], fraction=0.046)
    bar.ax.set_yticklabels(["normal", "", "pneumonia"], fontsize=8)
    figure.suptitle(title, fontsize=9)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=DPI)


def relative_strength(values: Pixels) -> Pixels:
    """Attribution `(H, W)` as shares of its strongest, -1 to 1; outliers count as the strongest."""
    strongest = max(float(np.percentile(np.abs(values), STRONGEST_PERCENTILE)), 1e-12)
    scaled: Pixels = np.clip(values / np.float32(strongest), -1, 1)
    return scaled
