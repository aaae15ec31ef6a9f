import time

import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.evaluation.metrics import METRIC_NAMES, volume_metrics

SPACING_MM = (1.5, 2.0, 8.0)


def box(
    start: tuple[int, int, int], size: tuple[int, int, int], label: AcdcLabel = AcdcLabel.LV
) -> np.ndarray:
    mask = np.zeros((20, 20, 6), dtype=np.uint8)
    mask[tuple(slice(low, low + length) for low, length in zip(start, size, strict=True))] = label
    return mask


def test_a_perfect_mask_scores_one_and_zero_distance() -> None:
    mask = box((4, 4, 1), (6, 6, 3))
    lv = volume_metrics(mask, mask, SPACING_MM)[AcdcLabel.LV]
    assert (lv.dice, lv.iou, lv.precision, lv.recall, lv.f1) == (1, 1, 1, 1, 1)
    assert (lv.hd95_mm, lv.assd_mm, lv.absent_from) == (0, 0, "")


def test_overlap_of_a_half_covered_box_is_as_computed_by_hand() -> None:
    # 100 voxels predicted, 50 true, all of them found
    lv = volume_metrics(box((2, 2, 1), (10, 5, 2)), box((2, 2, 1), (5, 5, 2)), SPACING_MM)[AcdcLabel.LV]
    assert lv.dice == pytest.approx(2 * 50 / 150)
    assert lv.f1 == lv.dice
    assert (lv.iou, lv.precision, lv.recall) == pytest.approx((0.5, 0.5, 1.0))


@pytest.mark.parametrize(("axis", "expected_mm"), [(0, 3 * 1.5), (1, 3 * 2.0), (2, 3 * 8.0)])
def test_distance_between_two_voxels_is_in_mm_along_each_axis(axis: int, expected_mm: float) -> None:
    start = [1, 1, 1]
    start[axis] += 3
    lv = volume_metrics(box((1, 1, 1), (1, 1, 1)), box(tuple(start), (1, 1, 1)), SPACING_MM)[AcdcLabel.LV]
    assert (lv.hd95_mm, lv.assd_mm) == pytest.approx((expected_mm, expected_mm))


def test_hd95_is_the_larger_direction_and_assd_pools_both_surfaces() -> None:
    # One voxel against a row of 11 from it, 2 mm apart: nearest distances {0} one way, 0, 2, ... 20 back.
    lv = volume_metrics(box((3, 2, 1), (1, 1, 1)), box((3, 2, 1), (1, 11, 1)), SPACING_MM)[AcdcLabel.LV]
    assert lv.hd95_mm == pytest.approx(19.0)
    assert lv.assd_mm == pytest.approx(110 / 12)


def test_distances_equal_those_of_monai() -> None:
    rng = np.random.default_rng(3)
    truth = box((5, 4, 1), (8, 9, 4))
    prediction = np.where(rng.random(truth.shape) < 0.03, AcdcLabel.LV, box((6, 4, 0), (7, 11, 4))).astype(
        np.uint8
    )
    lv = volume_metrics(prediction, truth, SPACING_MM)[AcdcLabel.LV]
    first, second = (torch.from_numpy(mask > 0)[None, None] for mask in (prediction, truth))
    hd95 = compute_hausdorff_distance(
        first, second, include_background=True, percentile=95, spacing=SPACING_MM
    )
    assd = compute_average_surface_distance(
        first, second, include_background=True, symmetric=True, spacing=SPACING_MM
    )
    assert lv.hd95_mm == pytest.approx(float(hd95), rel=1e-5)
    assert lv.assd_mm == pytest.approx(float(assd), rel=1e-5)


def test_a_structure_absent_from_both_masks_has_no_figures() -> None:
    rv = volume_metrics(box((2, 2, 1), (3, 3, 2)), box((2, 2, 1), (3, 3, 2)), SPACING_MM)[AcdcLabel.RV]
    assert [getattr(rv, name) for name in METRIC_NAMES] == [None] * len(METRIC_NAMES)
    assert rv.absent_from == "both"


@pytest.mark.parametrize("absent_from", ["prediction", "truth"])
def test_a_structure_absent_from_one_mask_scores_zero_without_distance(absent_from: str) -> None:
    full, empty = box((2, 2, 1), (3, 3, 2)), np.zeros((20, 20, 6), np.uint8)
    masks = (empty, full) if absent_from == "prediction" else (full, empty)
    lv = volume_metrics(*masks, SPACING_MM)[AcdcLabel.LV]
    assert (lv.dice, lv.iou, lv.precision, lv.recall, lv.f1) == (0, 0, 0, 0, 0)
    assert (lv.hd95_mm, lv.assd_mm, lv.absent_from) == (None, None, absent_from)


def test_structures_are_measured_apart() -> None:
    truth = box((2, 2, 1), (4, 4, 2), AcdcLabel.RV) + box((10, 10, 1), (4, 4, 2), AcdcLabel.MYO)
    prediction = truth.copy()
    prediction[truth == AcdcLabel.MYO] = AcdcLabel.LV
    dice = {label: metrics.dice for label, metrics in volume_metrics(prediction, truth, SPACING_MM).items()}
    assert dice == {AcdcLabel.RV: 1.0, AcdcLabel.MYO: 0.0, AcdcLabel.LV: 0.0}
    assert list(dice) == list(FOREGROUND)


def test_masks_of_two_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one shape"):
        volume_metrics(np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 5), np.uint8), SPACING_MM)


def test_a_spacing_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="positive"):
        volume_metrics(np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 4), np.uint8), (1.0, 1.0, 0.0))


def test_a_volume_of_usual_size_takes_a_fraction_of_a_second() -> None:
    truth = np.zeros((256, 216, 10), np.uint8)
    truth[60:100, 60:150], truth[100:170, 70:140], truth[112:158, 82:128] = 1, 2, 3
    prediction = np.roll(truth, 3, axis=0)
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        volume_metrics(prediction, truth, (1.4, 1.4, 10.0))
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 0.3
