import numpy as np
import pytest

from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.interaction.benchmark import click_on_errors, worst_click
from pipelines.interaction.clicks import Click, Mask
from pipelines.interaction.corrector import Corrector


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_the_worst_voxel_is_reported_in_the_files_own_order_of_axes(axis: int) -> None:
    truth = np.zeros((20, 18, 5), dtype=np.uint8)
    truth[5:10, 11:16, 3] = AcdcLabel.RV
    found = worst_click(np.moveaxis(np.zeros_like(truth), 2, axis), np.moveaxis(truth, 2, axis), axis)
    place = [7, 13]
    place.insert(axis, 3)
    assert found == Click(*place, AcdcLabel.RV)


def test_only_the_slice_asked_for_is_looked_at() -> None:
    truth = np.zeros((20, 18, 5), dtype=np.uint8)
    truth[5:10, 11:16, 3], truth[2:5, 2:5, 1] = AcdcLabel.RV, AcdcLabel.LV
    nothing = np.zeros_like(truth)
    assert worst_click(nothing, truth, 2, only_slice=1) == Click(3, 3, 1, AcdcLabel.LV)
    assert worst_click(nothing, truth, 2, only_slice=0) is None


def test_the_user_stops_when_all_is_right_and_does_not_click_more_than_asked(
    corrector: Corrector, heart: tuple[Volume, Mask]
) -> None:
    volume, truth = heart
    correction = corrector.open(volume)
    assert list(click_on_errors(correction, truth, truth, 3)) == []
    steps = list(click_on_errors(correction, np.zeros_like(truth), truth, 2))
    assert len(steps) == 2
    assert all(step.mask[step.click.index] == step.click.label for step in steps)
    assert all(step.seconds > 0 for step in steps)


def test_mending_one_slice_leaves_the_others(corrector: Corrector, heart: tuple[Volume, Mask]) -> None:
    volume, truth = heart
    empty = np.zeros_like(truth)
    steps = list(click_on_errors(corrector.open(volume), empty, truth, 2, only_slice=2))
    assert not steps[-1].mask[:, :, [0, 1, 3]].any()
    assert steps[-1].mask[:, :, 2].any()
