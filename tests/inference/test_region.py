import pytest
import torch
from torch import Tensor

from pipelines.inference.region import (
    FEWEST_SLICES,
    MARGIN_PX,
    MIN_PX,
    STEP_PX,
    Region,
    heart_region,
    sampled_slices,
    whole_field,
)

FIELD = (192, 192)


def seen(rows: tuple[int, int], columns: tuple[int, int], shape: tuple[int, int] = FIELD) -> Tensor:
    """Two slices; the first shows the left half of the heart, the second the right one."""
    foreground = torch.zeros(2, *shape, dtype=torch.bool)
    middle = sum(columns) // 2
    foreground[0, rows[0] : rows[1], columns[0] : middle] = True
    foreground[1, rows[0] : rows[1], middle : columns[1]] = True
    return foreground


def test_a_small_heart_gets_the_least_region_around_its_middle() -> None:
    assert heart_region(seen((80, 120), (70, 110))) == Region(slice(36, 164), slice(26, 154))


def test_a_large_heart_gets_its_margin_and_a_side_that_can_be_halved() -> None:
    region = heart_region(seen((30, 130), (60, 157)))
    for side, (first, last) in ((region.rows, (30, 130)), (region.columns, (60, 157))):
        assert (side.stop - side.start) % STEP_PX == 0
        assert side.start <= first - MARGIN_PX
        assert side.stop >= last + MARGIN_PX


@pytest.mark.parametrize(("rows", "expected"), [((0, 30), (0, MIN_PX)), ((170, 192), (192 - MIN_PX, 192))])
def test_a_region_does_not_leave_the_field(rows: tuple[int, int], expected: tuple[int, int]) -> None:
    region = heart_region(seen(rows, (80, 100)))
    assert (region.rows.start, region.rows.stop) == expected


@pytest.mark.parametrize("shape", [(192, 192), (96, 160)])
def test_where_no_heart_is_seen_the_whole_field_is_kept(shape: tuple[int, int]) -> None:
    assert heart_region(torch.zeros(2, *shape, dtype=torch.bool)) == whole_field(shape)


def test_a_field_smaller_than_the_least_region_is_kept_whole() -> None:
    assert heart_region(seen((10, 20), (30, 60), (96, 96))) == whole_field((96, 96))


@pytest.mark.parametrize(("count", "expected"), [(5, [1, 3]), (10, [2, 7]), (18, [4, 8, 13])])
def test_slices_are_spread_over_the_inner_half(count: int, expected: list[int]) -> None:
    assert sampled_slices(count) == expected


@pytest.mark.parametrize("count", range(FEWEST_SLICES, 60))
def test_sampled_slices_are_few_and_distinct(count: int) -> None:
    found = sampled_slices(count)
    assert len(set(found)) == len(found) <= max(2, count // 5)
    assert 0 <= found[0] <= found[-1] < count
