"""The chapter on the method: from image to label map, and the networks' block diagrams."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch
from matplotlib.axes import Axes
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from torch import nn

from pipelines.figures.overlay import panels, save_png
from pipelines.models.bundle import NETWORKS, load_config
from pipelines.reporting.document import Language, Picture, Section, Table
from pipelines.reporting.source import Source

SETTINGS: Final = (
    "spacing_mm",
    "field_px",
    "slice_offsets",
    "patch_px",
    "optimizer",
    "learning_rate",
    "weight_decay",
    "decay",
    "warmup",
    "batch_size",
    "max_epochs",
    "ema_decay",
)
"""Settings of the bundle that the report lists."""

BOX_WIDTH, BOX_HEIGHT = 2.6, 0.72
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d, nn.ConvTranspose2d, nn.ConvTranspose3d)
CONTRACTING, EXPANDING = "#dbeafe", "#dcfce7"


def networks_of(sources: Sequence[Source]) -> list[str]:
    """Networks for hearts that the sources record, in the order of the bundle; the default without any."""
    found = {network for source in sources for network in source.networks}
    return [network for network in NETWORKS if network in found] or [NETWORKS[0]]


def method_sections(networks: Sequence[str], words: Language, pictures: Path) -> list[Section]:
    """How an image becomes a label map, from the bundle's own configuration.

    Args:
        networks: Networks to draw.
        words: Language.
        pictures: Folder that takes the diagrams.

    Raises:
        OutputError: If a picture cannot be written.
    """
    shapes = [trace_network(network) for network in networks]
    drawn = []
    for shape in shapes:
        path = pictures / f"network_{shape.network}.png"
        diagram(shape, path)
        alt = words("method.diagram_alt", network=shape.network, blocks=len(shape.blocks))
        drawn.append(Picture(path, alt, words("method.diagram", network=shape.network)))
    return [
        Section(
            words("chapter.method"),
            [words("method.lead")],
            _steps(networks[0], words),
            [_settings_table(networks, words)],
            drawn,
        ),
        Section(
            words("method.networks"),
            tables=[_blocks_table(shape, words) for shape in shapes],
            level=3,
            is_detail=True,
        ),
    ]


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
    figure, (axes,) = panels(width=9.0, height=1.1 * len(levels) + 1.0)
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
    save_png(figure, path)


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


def _steps(network: str, words: Language) -> list[str]:
    config = load_config(network, ["train"])
    field = config.get("field_px")
    low, high = config.get("clip_percentiles")
    return [
        words("method.spacing", spacing=config.get("spacing_mm")),
        words("method.intensity", low=low, high=high),
        words("method.field", width=field[0], height=field[1]),
        words("method.neighbours"),
        words("method.native"),
        words("method.training"),
    ]


def _settings_table(networks: Sequence[str], words: Language) -> Table:
    configs = [load_config(network, ["train"]) for network in networks]
    return Table(
        words("method.settings"),
        [words("method.setting"), *networks],
        [[name, *(str(config.get(name)) for config in configs)] for name in SETTINGS],
    )


def _blocks_table(shape: NetworkShape, words: Language) -> Table:
    header = ["method.block", "method.size", "method.stride", "method.channels", "method.convolutions"]
    ways = [words("method.down")] * (shape.turn + 1) + [words("method.up")] * len(shape.blocks)
    return Table(
        words("method.blocks", network=shape.network, parameters=f"{shape.parameters:,}"),
        [*(words(key) for key in header), words("method.parameters")],
        [
            [
                f"{index} {way}",
                str(block.size_px),
                f"1/{block.stride}",
                block.channels,
                block.convolutions,
                f"{block.parameters:,}",
            ]
            for index, (block, way) in enumerate(zip(shape.blocks, ways, strict=False), start=1)
        ],
    )
