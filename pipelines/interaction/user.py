"""A simulated user who corrects a mask click by click, always where it is most wrong."""

import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from pipelines.interaction.clicks import Click, Mask, largest_error
from pipelines.interaction.corrector import Correction


@dataclass(frozen=True, slots=True)
class Step:
    """What one click did.

    Attributes:
        click: Where the user clicked, and the label given.
        mask: `(X, Y, Z)` label map after it.
        seconds: Time from the click to the mask.
    """

    click: Click
    mask: Mask
    seconds: float


def click_on_errors(
    correction: Correction, mask: Mask, truth: Mask, count: int, *, only_slice: int | None = None
) -> Iterator[Step]:
    """Click up to `count` times in the middle of the largest error; ends before if none is left.

    Args:
        correction: Volume to correct.
        mask: `(X, Y, Z)` label map to start from, in the file's order of axes.
        truth: `(X, Y, Z)`, what it should be.
        count: Largest number of clicks.
        only_slice: Index of the one slice to correct; by default the whole volume.
    """
    settled: list[Click] = []
    for _ in range(count):
        click = worst_click(mask, truth, correction.axis, only_slice=only_slice)
        if click is None:
            return
        start = time.perf_counter()
        mask = correction.correct(mask, [click], settled=settled, one_slice=only_slice is not None)
        seconds = time.perf_counter() - start
        settled.append(click)
        yield Step(click, mask, seconds)


def worst_click(mask: Mask, truth: Mask, axis: int, *, only_slice: int | None = None) -> Click | None:
    """Click in the middle of the largest wrong region of a slice, None if all is right.

    Args:
        mask: `(X, Y, Z)` label map.
        truth: `(X, Y, Z)`, what it should be.
        axis: Axis across the slices.
        only_slice: Index of the one slice to look at; by default all.
    """
    present, wanted = (np.moveaxis(array, axis, 2) for array in (mask, truth))
    first = 0
    if only_slice is not None:
        first = only_slice
        present, wanted = (array[:, :, first : first + 1] for array in (present, wanted))
    found = largest_error(present, wanted)
    if found is None:
        return None
    i, j, k = np.insert([found.i, found.j], axis, found.k + first).tolist()
    return Click(i, j, k, found.label)
