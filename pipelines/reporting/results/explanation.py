"""Results of explanations, and figures of feature maps."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import output_folder
from pipelines.core.volume import read_volume, slices_last
from pipelines.explanation.explain import (
    Maps,
    attention_gates,
    chosen_layers,
    liveliest_channels,
    recorded,
)
from pipelines.explanation.study import STUDY_NAME
from pipelines.figures.overlay import WINDOW_PERCENTILES, FloatArray, save_png
from pipelines.models.heart import Predictor
from pipelines.reporting.document import Cell, Document, Picture, Section, Table, number
from pipelines.reporting.source import Context, Kind, Source, each

METHOD_WORDS: Final = (
    "Integrated Gradients adds up the gradients of the score while the image is faded in from a black one; "
    "red pixels speak for pneumonia, blue ones against it. All pixels together give the change of the score "
    "(completeness). A map can be trusted as far as it changes when weights are made random, as blurring "
    "its pixels lowers the score sooner than blurring random ones (deletion gain), and as it lies inside "
    "the chest."
)
LISTED: Final = "integrated_gradients"
"""Method whose values are listed image by image."""


def document(source: Source, _: Context) -> Document:
    """Document of a study of explanations, in English."""
    section = Section(
        f"Explanations, {source.name}",
        [METHOD_WORDS],
        tables=_tables(source.content),
        pictures=[] if source.figures_only else [*_overlays(source)],
        block="explanation",
    )
    return Document("", "", [section])


OF_EACH: Final = each("Explanations, {name}", document)
KIND: Final = Kind("explanation", STUDY_NAME, "thorax explain", "errors", OF_EACH)


def _overlays(source: Source) -> Iterator[Picture]:
    for case in source.content["cases"]:
        verdict = "right" if case["is_correct"] else "wrong"
        text = f"{verdict}: {case['finding'].lower()}, probability of pneumonia {case['probability']:.2f}"
        yield Picture(source.folder / case["overlay"], text, text, of_patient=True)


def _tables(content: Mapping[str, Any]) -> list[Table]:
    cases = content["cases"]
    steps = list(cases[0]["completeness"]["black"])
    complete: list[list[Cell]] = []
    for baseline in cases[0]["completeness"]:
        errors = [[case["completeness"][baseline][count] for case in cases] for count in steps]
        complete.append([baseline, *(f"{100 * float(np.median(found)):.1f}" for found in errors)])
    methods: list[list[Cell]] = []
    for method in cases[0]["shares"]:
        gains = [case["deletion"][method]["gain"] for case in cases]
        found = [case["shares"][method] for case in cases]
        share = {kind: 100 * float(np.mean([one[kind] for one in found])) for kind in found[0]}
        methods.append(
            [
                method.replace("_", " "),
                f"{np.mean(gains):+.2f}",
                f"{sum(gain > 0 for gain in gains)} of {len(gains)}",
                *(f"{share[place]:.0f} (area {share[f'{place}_area']:.0f})" for place in ("chest", "frame")),
            ]
        )
    stages = list(next(iter(content["randomised"].values())))
    randomised: list[list[Cell]] = [
        [method.replace("_", " "), *(number(found[stage], 2) for stage in stages)]
        for method, found in content["randomised"].items()
    ]
    images: list[list[Cell]] = [
        [
            f"`{Path(case['image']).name}`",
            case["finding"].lower(),
            f"{case['probability']:.3f}",
            "right" if case["is_correct"] else "wrong",
            *(f"{100 * case['shares'][LISTED][place]:.0f}" for place in ("chest", "frame")),
            f"{case['deletion'][LISTED]['gain']:+.2f}",
        ]
        for case in cases
    ]
    return [
        Table(
            "Completeness error of Integrated Gradients, median over the images, in percent",
            ["baseline", *(f"{count} steps" for count in steps)],
            complete,
        ),
        Table(
            "Deletion and place of the attribution, means over the images",
            ["method", "deletion gain", "above 0", "% inside the chest", "% in the frame"],
            methods,
        ),
        Table(
            "Rank correlation with the trained network's map when stages are made random, the last first",
            ["method", *stages],
            randomised,
        ),
        Table(
            "The images, with Integrated Gradients",
            ["image", "label", "probability", "", "% chest", "% frame", "deletion gain"],
            images,
        ),
    ]


CHANNELS: Final = 15
"""Channels of a layer that are drawn beside the slice, those that vary most."""

COLUMNS: Final = 8
GATES_NAME: Final = "attention_gates.png"


def show_features(
    path: Path,
    output: Path,
    predictor: Predictor,
    *,
    layers: Sequence[str] | None = None,
    slice_number: int | None = None,
) -> list[Path]:
    """Draw feature maps of one slice, a PNG a layer, and the attention gates if there are any.

    Args:
        path: NIfTI file of one frame, 3-D.
        output: Folder for the pictures; made if it does not exist.
        predictor: Its first network is shown.
        layers: Names of layers; the last before each change of resolution without them.
        slice_number: Slice, counted from 1; the middle one without it.

    Returns:
        The pictures, in the order of the layers.

    Raises:
        DataError: If the volume cannot be read or is not 3-D.
        ConfigError: If there is no such slice or layer.
        OutputError: If a picture cannot be written.
    """
    volume = read_volume(path)
    if volume.array.ndim != 3:
        raise DataError(f"expected one frame (3-D), found {volume.array.shape} in {path}; give one frame")
    stack = slices_last(volume)[0]
    slices = stack.array.shape[2]
    number = slice_number if slice_number is not None else slices // 2 + 1
    if not 1 <= number <= slices:
        raise ConfigError(f"expected a slice from 1 to {slices}, found {number}; choose one of these")
    member = predictor.members[0]
    prepared = member.prepare(stack).as_tensor().movedim(-1, 0)[number - 1 : number]
    with recorded(member.network) as outputs:
        member.logits(prepared)
    names = chosen_layers(outputs, layers)
    output_folder(output)
    # The slice itself is in the middle of its neighbours, which are further channels.
    image = prepared[0, prepared.shape[1] // 2].numpy()
    written = []
    for place, name in enumerate(names, start=1):
        picture = output / f"{place:02d}_{name}.png"
        feature_figure(name, outputs[name], image, picture)
        written.append(picture)
    gates = attention_gates(outputs)
    if gates:
        gate_figure(gates, image, output / GATES_NAME)
        written.append(output / GATES_NAME)
    return written


def feature_figure(name: str, maps: Maps, image: FloatArray, path: Path) -> None:
    """PNG of a slice and the channels of a layer that vary most, each in its own range.

    Args:
        name: Name of the layer.
        maps: `(C, h, w)` its answer.
        image: `(H, W)` the slice as the network sees it.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    channels = liveliest_channels(maps, CHANNELS)
    rows = -(-(len(channels) + 1) // COLUMNS)
    figure = Figure(figsize=(1.5 * COLUMNS, 1.72 * rows + 0.5), layout="constrained")
    panels: list[Axes] = list(figure.subplots(rows, COLUMNS, squeeze=False).ravel())
    for axes in panels:
        axes.set_axis_off()
    _draw_slice(panels[0], image)
    panels[0].set_title("slice", fontsize=8)
    for axes, channel in zip(panels[1:], channels, strict=False):
        axes.imshow(maps[channel].T, cmap="viridis")
        axes.set_title(f"channel {channel + 1}", fontsize=8)
    size = f"{maps.shape[1]} x {maps.shape[2]}"
    figure.suptitle(
        f"{name}: {len(channels)} of {len(maps)} channels, {size}, the largest variance first", fontsize=10
    )
    save_png(figure, path)


def gate_figure(gates: Mapping[str, Maps], image: FloatArray, path: Path) -> None:
    """PNG of a slice, and each attention gate's coefficients over it, all from 0 to 1.

    Args:
        gates: `(h, w)` coefficients by name.
        image: `(H, W)` the slice as the network sees it.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    figure = Figure(figsize=(2.8 * (len(gates) + 1), 3.4), layout="constrained")
    panels = figure.subplots(1, len(gates) + 1)
    for axes in panels:
        _draw_slice(axes, image)
        axes.set_axis_off()
    panels[0].set_title("slice", fontsize=8)
    extent = (-0.5, image.shape[0] - 0.5, image.shape[1] - 0.5, -0.5)
    for axes, gate in zip(panels[1:], gates.values(), strict=True):
        shown = axes.imshow(gate.T, cmap="inferno", vmin=0, vmax=1, alpha=0.6, extent=extent)
        axes.set_title(f"gate at {gate.shape[0]} x {gate.shape[1]}, mean {gate.mean():.2f}", fontsize=8)
    figure.colorbar(shown, ax=list(panels), shrink=0.7, label="0 closed, 1 open")
    save_png(figure, path)


def _draw_slice(axes: Axes, image: FloatArray) -> None:
    low, high = np.percentile(image, WINDOW_PERCENTILES)
    axes.imshow(image.T, cmap="gray", vmin=low, vmax=high)
