"""Tests of ED and ES detection."""

import numpy as np
import pytest

from pipelines.core.cardiac import Rates, find_ed_es, measure_rates
from pipelines.core.errors import DataError
from pipelines.datasets.phantom.heart import contraction_curve


def beat(frames: int, ed: int = 0) -> np.ndarray:
    """LV volumes of a cosine beat between 50 and 150 mL with its maximum at frame `ed`."""
    return 100 + 50 * np.cos(2 * np.pi * (np.arange(frames) - ed) / frames)


def test_largest_volume_is_ed_and_smallest_is_es() -> None:
    assert find_ed_es([120.0, 90.0, 55.0, 70.0, 110.0]) == (0, 2)


@pytest.mark.parametrize("frames", [2, 8, 12, 30])
@pytest.mark.parametrize("shift", [0, 1])
def test_smooth_beat_keeps_its_own_extremes(frames: int, shift: int) -> None:
    assert find_ed_es(beat(frames, ed=shift)) == (shift, (shift + frames // 2) % frames)


def test_the_end_of_a_short_systole_in_few_frames_is_es() -> None:
    assert find_ed_es([150.0, 145.0, 130.0, 80.0, 125.0, 140.0, 147.0, 149.0]) == (0, 3)


def test_one_wild_frame_does_not_become_ed() -> None:
    volumes = beat(20)
    volumes[6] = 400.0
    assert find_ed_es(volumes) == (0, 10)


def test_one_collapsed_frame_does_not_become_es() -> None:
    volumes = beat(20)
    volumes[3] = 5.0
    assert find_ed_es(volumes) == (0, 10)


def test_outlier_at_the_end_is_judged_by_the_first_frame() -> None:
    volumes = beat(20)
    volumes[19] = 10.0
    assert find_ed_es(volumes) == (0, 10)


@pytest.mark.parametrize("absent", [0.0, np.nan])
def test_frames_without_lv_are_never_es(absent: float) -> None:
    assert find_ed_es([100.0, 60.0, absent, absent, 80.0]) == (0, 1)


@pytest.mark.parametrize("volumes", [[], [100.0], [0.0, 0.0, 0.0], [100.0, 0.0, np.nan]])
def test_lv_in_fewer_than_two_frames_is_an_error(volumes: list[float]) -> None:
    with pytest.raises(DataError, match="at least 2 frames"):
        find_ed_es(volumes)


@pytest.mark.parametrize("frames", [12, 20, 30])
@pytest.mark.parametrize("ed", [0, 3])
def test_rates_of_a_cosine_beat_are_off_by_less_than_two_percent(frames: int, ed: int) -> None:
    found = measure_rates(beat(frames, ed), 0.9 / frames, ed, (ed + frames // 2) % frames)
    assert found is not None
    fastest = 50 * 2 * np.pi / 0.9
    assert found.peak_ejection_ml_s == pytest.approx(fastest, rel=0.02)
    assert found.peak_filling_ml_s == pytest.approx(fastest, rel=0.02)
    assert found.time_to_peak_filling_ms == pytest.approx(225, abs=900 / frames)


def test_rates_of_the_phantom_beat_are_off_by_less_than_ten_percent() -> None:
    fine, index_es = 3000, 1000
    truth = np.diff(150 - 90 * contraction_curve(fine, index_es)) * fine
    found = measure_rates(150 - 90 * contraction_curve(30, 10), 1 / 30, 0, 10)
    assert found is not None
    assert found.peak_ejection_ml_s == pytest.approx(-truth[:index_es].min(), rel=0.1)
    assert found.peak_filling_ml_s == pytest.approx(truth[index_es:].max(), rel=0.1)


def test_one_wild_frame_does_not_become_the_fastest_filling() -> None:
    volumes = beat(20)
    expected = measure_rates(volumes, 0.05, 0, 10)
    volumes[15] = 190
    found = measure_rates(volumes, 0.05, 0, 10)
    assert isinstance(expected, Rates)
    assert isinstance(found, Rates)
    assert found.peak_filling_ml_s == pytest.approx(expected.peak_filling_ml_s, rel=0.1)


def test_too_few_frames_and_frames_without_volume_have_no_rates() -> None:
    assert measure_rates(beat(9), 0.1, 0, 4) is None
    assert measure_rates([0.0, *beat(20)[1:]], 0.05, 0, 10) is None
