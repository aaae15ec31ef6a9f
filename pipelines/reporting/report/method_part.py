"""The chapter on the method: from image to label map, and the networks' block diagrams."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from pipelines.models.bundle import NETWORKS, load_config
from pipelines.reporting.html import Picture, Table
from pipelines.reporting.language import Language
from pipelines.reporting.report.network_diagram import NetworkShape, diagram, trace_network
from pipelines.reporting.report.parts import Part, Source
from pipelines.training.run_record import network_in, read_run

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


def networks_of(sources: Sequence[Source]) -> list[str]:
    """Networks that the sources speak of, in the order of the bundle; the default without any.

    Args:
        sources: As from `read_sources`.

    Raises:
        DataError: If a run is damaged.
    """
    found: set[str | None] = set()
    for source in sources:
        if source.kind == "training":
            found.add(read_run(source.folder).network)
        found.update(source.manifest.get("networks", []))
        found.add(source.content.get("network") or network_in(source.name))
    return [network for network in NETWORKS if network in found] or [NETWORKS[0]]


def method_part(networks: Sequence[str], words: Language, pictures: Path) -> Part:
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
    return Part(
        title=words("chapter.method"),
        paragraphs=[words("method.lead")],
        points=_steps(networks[0], words),
        tables=[_settings_table(networks, words), *(_blocks_table(shape, words) for shape in shapes)],
        pictures=drawn,
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
