"""Tests of the plausibility warnings on drawn label maps."""

import numpy as np
import pytest
from skimage.morphology import convex_hull_image

from pipelines.core import plausibility
from pipelines.core.cardiac import indices_from_volumes
from pipelines.core.plausibility import cannot_be_heart, check_ends, check_indices, check_mask
from pipelines.core.records import AcdcLabel

SPACING_MM = (2.0, 2.0, 10.0)
SIZE = 80


def heart(slices: int = 6, centre: tuple[int, int] = (40, 40)) -> np.ndarray:
    """LV disc of radius 10 in a ring of 5, an RV disc beside it, in all slices but the outer two."""
    x, y = np.ogrid[:SIZE, :SIZE]
    distance = np.hypot(x - centre[0], y - centre[1])
    section = np.zeros((SIZE, SIZE), np.uint8)
    section[np.hypot(x - centre[0] + 20, y - centre[1]) <= 9] = AcdcLabel.RV
    section[distance <= 15] = AcdcLabel.MYO
    section[distance <= 10] = AcdcLabel.LV
    mask = np.repeat(section[:, :, None], slices, axis=2)
    mask[:, :, [0, -1]] = 0
    return mask


def test_sound_heart_has_no_warnings() -> None:
    assert check_mask(heart(), SPACING_MM) == []


def test_empty_map_gives_one_warning() -> None:
    assert check_mask(np.zeros((8, 8, 3), np.uint8), SPACING_MM) == ["no heart found: the label map is empty"]


@pytest.mark.parametrize(
    ("label", "warning"),
    [(AcdcLabel.LV, "LV is empty"), (AcdcLabel.RV, "RV is empty"), (AcdcLabel.MYO, "myocardium is empty")],
)
def test_absent_structure_is_named(label: AcdcLabel, warning: str) -> None:
    mask = heart()
    mask[mask == label] = 0
    assert check_mask(mask, SPACING_MM) == [warning]


def test_volume_beyond_a_heart_is_named_in_ml() -> None:
    mask = heart()
    lv_voxels = np.count_nonzero(mask == AcdcLabel.LV)
    warnings = check_mask(mask, (0.5, 0.5, 5.0))
    assert f"LV volume of {lv_voxels * 1.25 / 1000:.1f} mL is outside 10 to 500 mL" in warnings


def test_lv_outside_the_myocardium_is_given_as_a_share() -> None:
    mask = heart()
    mask[mask == AcdcLabel.MYO] = 0
    mask[40:43, 40:43, 2] = AcdcLabel.MYO
    assert "100% of the LV lies outside the myocardium" in check_mask(mask, SPACING_MM)


def test_a_hull_is_worked_out_only_for_a_cavity_that_its_wall_does_not_enclose(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hulls: list[int] = []

    def counted(region: np.ndarray) -> np.ndarray:
        hulls.append(1)
        return convex_hull_image(region)

    monkeypatch.setattr(plausibility, "convex_hull_image", counted)
    mask = heart()
    check_mask(mask, SPACING_MM)
    assert not hulls
    mask[:, :, 3][mask[:, :, 3] == AcdcLabel.MYO] = AcdcLabel.RV
    mask[20, 20, 3] = AcdcLabel.MYO
    check_mask(mask, SPACING_MM)
    assert len(hulls) == 1


def test_open_ring_in_a_mid_slice_is_named() -> None:
    mask = heart()
    mask[40:, :, 3][mask[40:, :, 3] == AcdcLabel.MYO] = 0
    assert "the myocardial ring is broken in slice 4" in check_mask(mask, SPACING_MM)


def test_open_ring_in_the_basal_slice_is_no_warning() -> None:
    mask = heart()
    mask[44:, :, 1][mask[44:, :, 1] == AcdcLabel.MYO] = 0
    assert not any("ring" in warning for warning in check_mask(mask, SPACING_MM))


def test_gap_between_slices_is_named_for_lv_and_myocardium() -> None:
    mask = heart()
    mask[:, :, 3] = 0
    warnings = check_mask(mask, SPACING_MM)
    assert "LV is missing in slice 4" in warnings
    assert "myocardium is missing in slice 4" in warnings
    assert "LV is in 2 separate pieces" in warnings


def test_stray_piece_is_counted() -> None:
    mask = heart()
    mask[5:10, 60:65, 2] = AcdcLabel.RV
    assert check_mask(mask, SPACING_MM) == ["RV is in 2 separate pieces"]


def test_speck_of_a_stray_piece_is_no_warning() -> None:
    mask = heart()
    mask[5, 60, 2] = AcdcLabel.RV
    assert check_mask(mask, SPACING_MM) == []


def test_heart_at_the_image_edge_is_a_warning() -> None:
    assert check_mask(heart(centre=(40, 70)), SPACING_MM) == [
        "the heart touches the edge of the image and may be cut"
    ]


def test_heart_at_the_edge_of_the_central_window_is_a_warning() -> None:
    wide = np.zeros((200, 200, 6), np.uint8)
    wide[:SIZE, 60 : 60 + SIZE] = heart(centre=(45, 40))
    # The RV begins at voxel 16, 83.5 voxels of 2 mm from the centre: outside 144 mm.
    assert check_mask(wide, SPACING_MM) == ["the heart reaches the edge of the central 288 mm and may be cut"]


def test_one_slice_is_no_whole_ventricle() -> None:
    mask = heart()[:, :, 2:3]
    assert check_mask(mask, (2.5, 2.5, 10.0)) == [
        "the heart is seen in 1 of at least 3 slices, volumes are not of whole ventricles"
    ]


def test_thin_line_of_myocardium_is_checked_without_error() -> None:
    mask = heart()
    mask[mask == AcdcLabel.MYO] = 0
    mask[30:50, 40, 1:5] = AcdcLabel.MYO
    assert any("outside the myocardium" in warning for warning in check_mask(mask, SPACING_MM))


def test_ejection_fraction_below_zero_asks_to_check_the_phases() -> None:
    ed = {AcdcLabel.LV: 60.0, AcdcLabel.RV: 100.0, AcdcLabel.MYO: 100.0}
    es = {AcdcLabel.LV: 120.0, AcdcLabel.RV: 50.0, AcdcLabel.MYO: 100.0}
    assert check_indices(indices_from_volumes(ed, es)) == [
        "LV EF of -100% is outside 5 to 90%, check ED and ES"
    ]
    assert check_indices(indices_from_volumes(ed, None)) == []


@pytest.mark.parametrize(
    ("rv", "myo", "lv", "reasons"),
    [
        (100.0, 90.0, 100.0, []),
        (4.0, 3.0, 2.0, []),  # a newborn's
        (0.0, 0.0, 0.0, ["the label map is empty"]),
        (0.0, 0.0, 80.0, ["RV is empty", "myocardium is empty"]),
        (100.0, 90.0, 9000.0, ["LV volume of 9000 mL is above 500 mL"]),
    ],
)
def test_what_cannot_be_a_heart_is_distinguished_from_what_is_only_odd(
    rv: float, myo: float, lv: float, reasons: list[str]
) -> None:
    assert cannot_be_heart({AcdcLabel.RV: rv, AcdcLabel.MYO: myo, AcdcLabel.LV: lv}) == reasons


def test_a_stack_that_ends_before_the_apex_is_reported() -> None:
    (warning,) = check_ends(heart(8)[:, :, 1:-1])
    assert "the stack ends before the apex or the base, volumes are not of whole ventricles" in warning
    assert check_ends(heart(8)[:, :, 1:]) == []  # as where the base is the first slice
