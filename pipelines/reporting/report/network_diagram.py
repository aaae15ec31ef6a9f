"""The block diagram of a network, traced through the network itself."""

import itertools
from dataclasses import dataclass
from pathlib import Path

import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from pipelines.core.files import atomic_path
from pipelines.models.bundle import load_config

DPI = 130
BOX_WIDTH, BOX_HEIGHT = 2.6, 0.72
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONTRACTING, EXPANDING = "#dbeafe", "#dcfce7"


@dataclass(frozen=True, slots=True)
class Block:
    """The convolutions that follow each other at one resolution.

    Attributes:
        size_px: Size of their output along x.
        stride: How much smaller that is than the input of the network.
        channels: Most channels that one of them gives; a head at that resolution gives fewer.
        convolutions: Their number.
        parameters: Their parameters, weights and biases.
    """

    size_px: int
    stride: int
    channels: int
    convolutions: int
    parameters: int


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """What a network is made of.

    Attributes:
        network: Name of its overlay in the bundle.
        target: Class that the definition names.
        channels_in: Input channels.
        channels_out: Classes.
        size_px: Size of the square input that was traced.
        parameters: All parameters.
        blocks: In the order in which an image runs through them.
    """

    network: str
    target: str
    channels_in: int
    channels_out: int
    size_px: int
    parameters: int
    blocks: tuple[Block, ...]

    @property
    def turn(self) -> int:
        """Index of the first block with the lowest resolution, where the way up begins."""
        return max(range(len(self.blocks)), key=lambda index: (self.blocks[index].stride, -index))


def trace_network(network: str) -> NetworkShape:
    """Blocks of a network of the ACDC bundle, by sending an input without values through it.

    Convolutions are taken in the order in which they run, heads and gates among them; those that follow
    each other at one resolution are a block.

    Args:
        network: One of `pipelines.models.bundle.NETWORKS`.
    """
    config = load_config(network)
    field_px = [int(size) for size in config.get_parsed_content("field_px")]
    channels_in = int(config.get_parsed_content("network_def::in_channels"))
    target = str(config.get("network_def")["_target_"])
    module: nn.Module = config.get_parsed_content("network_def").to("meta").eval()
    runs: list[tuple[int, int, int]] = []

    def note(layer: nn.Module, _: object, output: torch.Tensor) -> None:
        own = sum(weight.numel() for weight in layer.parameters())
        runs.append((int(output.shape[2]), int(output.shape[1]), own))

    hooks = [
        layer.register_forward_hook(note) for layer in module.modules() if isinstance(layer, CONVOLUTIONS)
    ]
    with torch.no_grad():
        output = module(torch.empty(1, channels_in, *field_px, device="meta"))
    for hook in hooks:
        hook.remove()
    return NetworkShape(
        network=network,
        target=target,
        channels_in=channels_in,
        channels_out=int(output.shape[1]),
        size_px=field_px[0],
        parameters=sum(weight.numel() for weight in module.parameters()),
        blocks=tuple(_blocks(runs, field_px[0])),
    )


def diagram(shape: NetworkShape, path: Path) -> None:
    """Draw the blocks: down at the left, up at the right, arrows across where resolutions are the same.

    Args:
        shape: As from `trace_network`.
        path: PNG to write.

    Raises:
        OutputError: If it cannot be written.
    """
    levels = sorted({block.stride for block in shape.blocks})
    figure = Figure(figsize=(9.0, 1.1 * len(levels) + 1.0), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.set_axis_off()
    down, up = shape.blocks[: shape.turn + 1], shape.blocks[shape.turn + 1 :]
    rows = {stride: -1.1 * index for index, stride in enumerate(levels)}
    bottom = rows[levels[-1]]
    columns = {"down": 0.0, "up": 5.4}
    places: list[tuple[float, float]] = []
    for block in down:
        x = columns["down"] if rows[block.stride] > bottom else (columns["down"] + columns["up"]) / 2
        places.append((x, rows[block.stride]))
        _box(axes, block, places[-1], CONTRACTING)
    for block in up:
        places.append((columns["up"], rows[block.stride]))
        _box(axes, block, places[-1], EXPANDING)
    for start, end in itertools.pairwise(places):
        _arrow(axes, start, end, dashed=False)
    for stride in levels[:-1]:
        if any(block.stride == stride for block in down) and any(block.stride == stride for block in up):
            _arrow(axes, (columns["down"], rows[stride]), (columns["up"], rows[stride]), dashed=True)
    _end(axes, f"input\n{shape.channels_in} x {shape.size_px} x {shape.size_px}", places[0], side=-1)
    _end(axes, f"output\n{shape.channels_out} x {shape.size_px} x {shape.size_px}", places[-1], side=1)
    axes.set_title(
        f"{shape.network} ({shape.target}), {shape.parameters / 1e6:.2f} million parameters", fontsize=11
    )
    axes.set_xlim(-3.4, 8.8)
    axes.set_ylim(bottom - 0.6, 0.6)
    with atomic_path(path) as temporary:
        figure.savefig(temporary, format="png", dpi=DPI)


def _blocks(runs: list[tuple[int, int, int]], size_px: int) -> list[Block]:
    blocks: list[Block] = []
    for size, channels, parameters in runs:
        last = blocks[-1] if blocks else None
        if last is not None and last.size_px == size:
            most = max(last.channels, channels)
            blocks[-1] = Block(size, last.stride, most, last.convolutions + 1, last.parameters + parameters)
        else:
            blocks.append(Block(size, size_px // size, channels, 1, parameters))
    return blocks


def _box(axes: Axes, block: Block, place: tuple[float, float], color: str) -> None:
    x, y = place
    axes.add_patch(
        FancyBboxPatch(
            (x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2),
            BOX_WIDTH,
            BOX_HEIGHT,
            boxstyle="round,pad=0.02,rounding_size=0.08",
            facecolor=color,
            edgecolor="0.4",
        )
    )
    axes.text(
        x,
        y + 0.16,
        f"{block.channels} channels, {block.size_px} px, 1/{block.stride}",
        ha="center",
        va="center",
        fontsize=9,
    )
    counted = f"{block.convolutions} convolutions, {block.parameters / 1e3:,.0f} k"
    axes.text(x, y - 0.17, counted, ha="center", va="center", fontsize=8, color="0.25")


def _arrow(axes: Axes, start: tuple[float, float], end: tuple[float, float], *, dashed: bool) -> None:
    if dashed or start[1] == end[1]:
        points = (start[0] + BOX_WIDTH / 2, start[1]), (end[0] - BOX_WIDTH / 2, end[1])
    elif start[1] > end[1]:
        points = (start[0], start[1] - BOX_HEIGHT / 2), (end[0], end[1] + BOX_HEIGHT / 2)
    else:
        points = (start[0], start[1] + BOX_HEIGHT / 2), (end[0], end[1] - BOX_HEIGHT / 2)
    axes.add_patch(
        FancyArrowPatch(
            *points,
            arrowstyle="-|>",
            mutation_scale=11,
            color="0.45",
            linestyle="dashed" if dashed else "solid",
            shrinkA=2,
            shrinkB=2,
        )
    )


def _end(axes: Axes, text: str, place: tuple[float, float], *, side: int) -> None:
    x = place[0] + side * (BOX_WIDTH / 2 + 1.1)
    axes.text(x, place[1], text, ha="center", va="center", fontsize=9)
    inner = (place[0] + side * BOX_WIDTH / 2, place[1])
    outer = (place[0] + side * (BOX_WIDTH / 2 + 0.55), place[1])
    points = (outer, inner) if side < 0 else (inner, outer)
    axes.add_patch(
        FancyArrowPatch(*points, arrowstyle="-|>", mutation_scale=11, color="0.45", shrinkA=0, shrinkB=0)
    )
