import numpy as np
import pytest

from pipelines.core.labels import UNLABELLED, AcdcLabel
from pipelines.evaluation.voxel_calibration import BAND_MM, VoxelCalibration, heart_band

SPACING = (2.0, 2.0, 10.0)


def truth() -> np.ndarray:
    mask = np.zeros((40, 40, 2), np.uint8)
    mask[18:22, 18:22, 0] = AcdcLabel.LV
    return mask


def constant(lv: float, shape: tuple[int, ...] = (40, 40, 2)) -> np.ndarray:
    found = np.zeros((4, *shape), np.float32)
    found[AcdcLabel.BACKGROUND], found[AcdcLabel.LV] = 1 - lv, lv
    return found


def test_the_band_ends_where_the_heart_is_far_and_holds_no_empty_slice() -> None:
    band = heart_band(truth(), np.zeros((40, 40, 2)), SPACING)
    pixels = int(BAND_MM / 2)
    assert band[18 - pixels, 20, 0]
    assert not band[18 - pixels - 1, 20, 0]
    assert not band[:, :, 1].any()


def test_the_error_is_how_far_a_constant_probability_is_from_the_share() -> None:
    calibration = VoxelCalibration()
    calibration.add(constant(0.3), truth(), SPACING)
    found = calibration.as_json()["lv"]
    share = 16 / found["voxels"]
    assert found["ece"] == pytest.approx(0.3 - share, abs=1e-6)
    assert found["curve"] == [{"probability": pytest.approx(0.3), "share": share, "count": found["voxels"]}]


def test_volumes_add_up() -> None:
    once, twice = VoxelCalibration(), VoxelCalibration()
    once.add(constant(0.2), truth(), SPACING)
    for _ in range(2):
        twice.add(constant(0.2), truth(), SPACING)
    assert twice.as_json()["lv"]["voxels"] == 2 * once.as_json()["lv"]["voxels"]
    assert twice.as_json()["lv"]["ece"] == pytest.approx(once.as_json()["lv"]["ece"])


def test_what_nobody_labelled_and_what_the_network_does_not_see_does_not_count() -> None:
    label, seen = truth(), constant(0.2)
    label[:, 20:] = UNLABELLED
    seen[:, :20] = 0
    calibration = VoxelCalibration()
    calibration.add(seen, label, SPACING, structures=(AcdcLabel.LV,))
    # Left are the band's rows from the middle on, in the labelled half of the first slice.
    band = heart_band(label, seen.argmax(axis=0), SPACING)
    found = calibration.as_json()
    assert found["lv"]["voxels"] == band[20:, :20].sum() > 0
    assert found["rv"]["ece"] is None
