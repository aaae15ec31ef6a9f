"""From the states of masks under correction to the figures that are reported."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from pipelines.core.labels import FOREGROUND, LABEL_NAMES

Row = dict[str, Any]
"""A state of a mask: its mode, clicks so far, Dice by structure, seconds of the last click."""

GOALS: Final = {"lv": 0.95, "myo": 0.90}
"""Dice that a structure shall reach, for the number of clicks to it."""

LOWERED: Final = 1e-9
"""Loss of mean Dice that counts as lowered: any but rounding."""

STRUCTURES: Final = (*(LABEL_NAMES[label] for label in FOREGROUND), "mean")


def summarise_clicks(rows: Sequence[Mapping[str, Any]], *, clicks: int, slice_clicks: int) -> dict[str, Any]:
    """Figures of `volume`, `one_slice` and `scribbles`.

    Args:
        rows: As in `clicks.csv`, the clicks of a volume or slice in order.
        clicks: Largest number of clicks on a volume.
        slice_clicks: Largest number of clicks on a slice.

    Returns:
        Of `volume` and `one_slice`: `dice` by structure after 0, 1, ... clicks; `lowered`, the share
        whose mean Dice each click lowers; `clicks_to` the goals; `seconds` a click. Where all was
        right before the last click, the mask stands for those that were not needed. Of `scribbles`:
        `dice`, and `seconds` a slice. A structure that is absent does not count; None if none does.
    """
    return {
        "volume": _curve([row for row in rows if row["mode"] == "volume"], clicks),
        "one_slice": _curve([row for row in rows if row["mode"] == "one_slice"], slice_clicks),
        "scribbles": _single([row for row in rows if row["mode"] == "scribbles"]),
    }


def _curve(rows: Sequence[Mapping[str, Any]], clicks: int) -> dict[str, Any]:
    cases: dict[tuple[Any, ...], list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        cases[row["patient"], row["phase"], row.get("slice")].append(row)
    dice = {name: _table(list(cases.values()), f"dice_{name}", clicks) for name in STRUCTURES}
    steps = np.diff(dice["mean"], axis=1)
    taken = np.array([[len(case) > number for number in range(1, clicks + 1)] for case in cases.values()])
    seconds = [row["seconds"] for row in rows if row.get("seconds") is not None]
    return {
        "cases": len(cases),
        "dice": {name: [_mean(column) for column in table.T] for name, table in dice.items()},
        "lowered": [float(np.mean(column < -LOWERED)) for column in steps.T],
        "lowered_of_all_clicks": float(np.mean(steps[taken] < -LOWERED)) if taken.any() else None,
        "clicks_to": {name: _clicks_to(dice[name], goal) | {"dice": goal} for name, goal in GOALS.items()},
        "seconds": {
            "median": float(np.median(seconds)) if seconds else None,
            "p95": float(np.percentile(seconds, 95)) if seconds else None,
        },
    }


def _table(cases: Sequence[Sequence[Mapping[str, Any]]], column: str, clicks: int) -> np.ndarray[Any, Any]:
    """`(cases, clicks + 1)` float64, NaN where a structure is absent; the last state is repeated."""
    table = np.full((len(cases), clicks + 1), np.nan)
    for line, case in zip(table, cases, strict=True):
        values = [row[column] for row in case]
        values += [values[-1]] * (clicks + 1 - len(values))
        line[:] = [np.nan if value is None else value for value in values]
    return table


def _clicks_to(table: np.ndarray[Any, Any], goal: float) -> dict[str, Any]:
    """Share of the cases that reach a goal, and the median number of clicks, of all that have the structure.

    The median is None if fewer than half reach it.
    """
    present = table[np.isfinite(table).all(axis=1)]
    if not len(present):
        return {"median": None, "reached": None}
    reached = present >= goal
    first = np.where(reached.any(axis=1), reached.argmax(axis=1), np.inf)
    median = float(np.median(first))
    return {"median": median if np.isfinite(median) else None, "reached": float(np.isfinite(first).mean())}


def _single(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    found = {name: np.array([row[f"dice_{name}"] for row in rows], dtype=float) for name in STRUCTURES}
    return {
        "dice": {name: _mean(values) for name, values in found.items()},
        "seconds": float(np.median([row["seconds"] for row in rows])),
    }


def _mean(values: np.ndarray[Any, Any]) -> float | None:
    defined = values[np.isfinite(values)]
    return float(defined.mean()) if len(defined) else None
