"""Tables of a benchmark: the ways to run each network, what they cost in Dice, and the sizes of exports."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.evaluation.cases import read_cases
from pipelines.evaluation.models import METRICS_NAME
from pipelines.reporting.markdown import markdown_table
from pipelines.reporting.measured import HEADER, BenchFigure

MOST_DICE_LOST: Final = 0.002
"""Largest loss of mean Dice against PyTorch in float32 for which a faster engine is good."""

BASE: Final = ("pytorch", "fp32")
"""Engine and precision that the others are compared with."""

ENGINE_TITLES: Final = {"pytorch": "PyTorch", "openvino": "OpenVINO", "int8": "OpenVINO int8,"}

Dices = dict[tuple[str, str, int], float]
"""Mean Dice over the structures of each volume, by patient, phase and frame."""


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


def dice_lines(evaluations: Sequence[Path]) -> list[str]:
    """What engines cost in mean Dice against PyTorch in float32, on the same volumes.

    Args:
        evaluations: Folders of `thorax evaluate --engine ... --precision ...`, for each network one in
            PyTorch's float32.

    Raises:
        DataError: If a folder is no such evaluation, the one in float32 is missing, or volumes differ.
    """
    found = [_evaluated(folder) for folder in evaluations]
    base = {network: dices for network, way, dices in found if way == BASE}
    figures = []
    for network, way, dices in found:
        if base.get(network, {}).keys() != dices.keys():
            raise DataError(
                f"expected an evaluation of {network} with --precision fp32 on the same volumes, found none; "
                "run thorax evaluate with it"
            )
        if way != BASE:
            lost = [base[network][key] - dice for key, dice in dices.items()]
            words = f"{network}: {ENGINE_TITLES[way[0]]} {way[1]}"
            figures += [
                BenchFigure(f"{words}, mean", float(np.mean(lost)), "", 4, MOST_DICE_LOST),
                BenchFigure(f"{words}, the volume that lost most", max(lost), "", 4),
            ]
    volumes = sorted({len(dices) for dices in base.values()})
    return [
        "## Dice lost by the engines",
        "",
        f"Against PyTorch in float32 on the same {' or '.join(map(str, volumes))} volumes, mean of LV, MYO",
        "and RV, by `thorax evaluate --engine ENGINE --precision PRECISION`. Engines are compared, not",
        "networks: these may have been trained on the same patients.",
        "",
        markdown_table(HEADER, [figure.cells for figure in figures]),
        "",
    ]


def _evaluated(folder: Path) -> tuple[str, tuple[str, str], Dices]:
    """Network, engine and precision, and mean Dice of each volume of an evaluation."""
    try:
        told = json.loads((folder / MANIFEST_NAME).read_text(encoding="utf-8"))
        way = (told["engine"], told["precision"])
        network = "+".join(told["networks"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"expected the manifest of 'thorax evaluate' in {folder}, found {error!r}") from error
    cases = {
        (case.patient, case.phase, case.frame): case.mean("dice")
        for case in read_cases(folder / METRICS_NAME)
    }
    return network, way, {key: dice for key, dice in cases.items() if dice is not None}


def _table(corner: str, columns: Mapping[str, Mapping[str, Any]], shown: Callable[[Any], str]) -> str:
    rows = _keys(columns.values())
    cells = [
        [row, *(shown(found[row]) if row in found else "" for found in columns.values())] for row in rows
    ]
    return markdown_table([corner, *columns], cells)


def _keys(tables: Iterable[Mapping[str, Any]]) -> list[str]:
    """All keys in the order they first appear."""
    return list(dict.fromkeys(key for table in tables for key in table))
