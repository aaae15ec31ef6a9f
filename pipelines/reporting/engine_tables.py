"""Tables of a benchmark: the ways to run each network, and the sizes of its exports."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pipelines.reporting.markdown import markdown_table


def engine_lines(engines: Mapping[str, Mapping[str, Mapping[str, float]]]) -> list[str]:
    """How many times faster than PyTorch in float32, a row for each way and a column for each network.

    Args:
        engines: By network and way, `volume_ratio` and `cine_ratio`.
    """
    return [
        "## Engines",
        "",
        "Times faster than PyTorch in float32: a volume / the frames of a cine, from image to clean mask.",
        "`thorax segment --engine` chooses; `thorax evaluate --engine` measures what it costs in Dice.",
        "",
        _table("engine", engines, lambda found: f"{found['volume_ratio']:.1f} / {found['cine_ratio']:.1f}"),
        "",
    ]


def size_lines(exports: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Sizes of exports in MB (1e6 bytes), a row for each format and a column for each network.

    Args:
        exports: Bytes by network and format.
    """
    return [
        "## Sizes of exports",
        "",
        "MB of what `thorax export` writes, beside the weights of the bundle.",
        "",
        _table("format", exports, lambda size: f"{size / 1e6:.1f}"),
        "",
    ]


def _table(corner: str, columns: Mapping[str, Mapping[str, Any]], shown: Callable[[Any], str]) -> str:
    rows = _keys(columns.values())
    cells = [
        [row, *(shown(found[row]) if row in found else "" for found in columns.values())] for row in rows
    ]
    return markdown_table([corner, *columns], cells)


def _keys(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys in the order they first appear."""
    return list(dict.fromkeys(key for table in tables for key in table))
