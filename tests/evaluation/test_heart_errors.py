import numpy as np
import pytest

from pipelines.core.records import UNLABELLED, AcdcLabel, Phase
from pipelines.core.volume import Volume
from pipelines.evaluation.heart_errors import (
    BAND_MM,
    Fault,
    Position,
    VoxelCalibration,
    entropy,
    find_reasons,
    flip_disagreement,
    heart_band,
    in_words,
    measure_slices,
    pooled_dice,
    slice_positions,
)


def heart(widths: list[int]) -> np.ndarray:
    """A stack whose slices have myocardium as wide as given, 0 for none, and the LV inside."""
    mask = np.zeros((20, 20, len(widths)), np.uint8)
    for index, width in enumerate(widths):
        mask[5 : 5 + width, 5:15, index] = AcdcLabel.MYO
        mask[6 : 5 + width, 6:14, index] = AcdcLabel.LV if width else 0
    return mask


def test_the_labelled_ventricle_is_cut_into_thirds() -> None:
    positions = slice_positions(heart([0, 10, 10, 9, 8, 5, 3, 0]))
    base, mid, apex = Position.BASE, Position.MID, Position.APEX
    assert positions == [Position.ABOVE, base, base, mid, mid, apex, apex, Position.BELOW]


def test_the_base_is_found_at_either_end() -> None:
    assert slice_positions(heart([3, 8, 10])) == [Position.APEX, Position.MID, Position.BASE]


def test_one_labelled_slice_is_mid() -> None:
    assert slice_positions(heart([0, 10, 0])) == [Position.ABOVE, Position.MID, Position.BELOW]


def test_the_right_ventricle_alone_has_no_thirds() -> None:
    mask = np.zeros((8, 8, 3), np.uint8)
    mask[2:4, 2:4] = AcdcLabel.RV
    assert set(slice_positions(mask)) == {Position.ABOVE}


def measured(mask: np.ndarray, truth: np.ndarray) -> list:
    return measure_slices(mask, truth, (1.0, 2.0, 10.0), patient="p1", group="NOR", phase=Phase.ED)


def test_missed_and_invented_slices_are_reported_with_their_volume() -> None:
    truth, mask = np.zeros((2, 10, 10, 3), np.uint8)
    truth[:5, :4, 0] = mask[:5, :4, 1] = AcdcLabel.MYO
    truth[:2, :4, 2] = mask[:1, :4, 2] = AcdcLabel.MYO
    first, second, third = measured(mask, truth)
    assert [part.kind for part in (first, second, third)] == ["missed", "invented", ""]
    assert first.error_ml == pytest.approx(20 * 20 / 1000)
    assert (first.dice, third.dice) == pytest.approx((0.0, 8 / 12))
    assert pooled_dice([first, second, third]) == pytest.approx(8 / 52)


def test_structures_that_nobody_labelled_are_not_measured() -> None:
    mask = np.full((4, 4, 2), AcdcLabel.RV, np.uint8)
    found = measure_slices(
        mask,
        np.zeros_like(mask),
        (1, 1, 1),
        patient="p",
        group="",
        phase=Phase.ES,
        structures=(AcdcLabel.LV,),
    )
    assert found == []
    assert pooled_dice(found) is None


def test_masks_of_two_shapes_are_an_error() -> None:
    with pytest.raises(ValueError, match="one shape"):
        measured(np.zeros((4, 4, 2), np.uint8), np.zeros((4, 4, 3), np.uint8))


SPACING = (1.0, 1.0, 10.0)


def ring() -> np.ndarray:
    """Myocardium of 12 x 12 around an LV of 8 x 8, and an RV of 4 x 12 beside it, in 3 slices."""
    mask = np.zeros((32, 32, 3), np.uint8)
    mask[10:22, 10:22] = AcdcLabel.MYO
    mask[12:20, 12:20] = AcdcLabel.LV
    mask[5:9, 10:22] = AcdcLabel.RV
    return mask


def test_a_right_answer_has_no_reasons() -> None:
    assert find_reasons(ring(), ring(), SPACING) == []
    assert in_words([]).startswith("Contours are off by little")


def test_a_missed_and_an_invented_slice_are_reported_with_place_and_volume() -> None:
    truth, mask = ring(), ring()
    mask[:, :, 2][truth[:, :, 2] == AcdcLabel.RV] = 0
    truth[:, :, 0][truth[:, :, 0] == AcdcLabel.RV] = 0
    missed, invented = sorted(find_reasons(mask, truth, SPACING), key=lambda reason: reason.fault)[::-1]
    assert (missed.fault, missed.slices, missed.volume_ml) == (Fault.MISSED, (3,), 0.48)
    assert invented.words == "RV false positive in slice 1 (apex), 0.5 mL"


def test_a_swap_names_both_structures() -> None:
    truth, mask = ring(), ring()
    mask[12:15, 12:20] = AcdcLabel.MYO
    [reason] = find_reasons(mask, truth, SPACING)
    assert (reason.fault, reason.structure, reason.taken_for) == (
        Fault.SWAPPED,
        AcdcLabel.LV,
        AcdcLabel.MYO,
    )
    assert "LV taken for MYO in slices 1, 2, 3" in reason.words


def test_a_leak_and_a_cut_are_distinguished() -> None:
    truth, mask = ring(), ring()
    mask[2:5, 10:22] = AcdcLabel.RV
    mask[16:22, 20:22] = mask[20:22, 10:22] = 0
    found = {reason.fault: reason.structure for reason in find_reasons(mask, truth, SPACING)}
    assert found == {Fault.LEAK: AcdcLabel.RV, Fault.SHORT: AcdcLabel.MYO}


def test_structures_that_nobody_labelled_are_not_blamed() -> None:
    truth, mask = ring(), ring()
    truth[truth == AcdcLabel.RV] = 0
    assert find_reasons(mask, truth, SPACING, (AcdcLabel.MYO, AcdcLabel.LV)) == []


def test_many_reasons_are_cut_and_counted() -> None:
    truth, mask = ring(), np.zeros((32, 32, 3), np.uint8)
    assert in_words(find_reasons(mask, truth, SPACING), most=1).endswith("and 2 more.")


def test_entropy_is_one_when_all_is_possible_and_zero_when_sure_or_unseen() -> None:
    probabilities = np.zeros((4, 3), np.float32)
    probabilities[:, 0] = 0.25
    probabilities[2, 1] = 1
    assert entropy(probabilities) == pytest.approx([1, 0, 0], abs=1e-6)


def test_entropy_of_two_equal_classes_of_four_is_a_half() -> None:
    assert entropy(np.array([[0.5], [0.5], [0], [0]], np.float32)) == pytest.approx([0.5])


class ByIntensity:
    """Class 1 where the image is bright: the same in every mirror image."""

    def probabilities(self, volume: Volume) -> np.ndarray:
        bright = (volume.array > 0).astype(np.float32)
        return np.stack([1 - bright, bright, 0 * bright, 0 * bright])


class ByPlace:
    """Class 1 at low first indices, whatever the image: a mirror image changes the answer."""

    def probabilities(self, volume: Volume) -> np.ndarray:
        left = np.zeros(volume.array.shape, np.float32)
        left[:2] = 1
        return np.stack([1 - left, left, 0 * left, 0 * left])


def volume() -> Volume:
    image = np.random.default_rng(0).normal(size=(8, 6, 3)).astype(np.float32)
    return Volume(image, np.eye(4), (1.0, 1.0, 10.0))


def test_a_network_that_sees_the_same_in_mirror_images_does_not_disagree() -> None:
    assert not flip_disagreement(ByIntensity(), volume()).any()


def test_half_of_the_flips_disagree_where_the_answer_hangs_on_the_place() -> None:
    found = flip_disagreement(ByPlace(), volume())
    assert np.array_equal(np.unique(found[[0, 1, 6, 7]]), [0.5])
    assert not found[2:6].any()


SPACING_VOXEL_CALIBRATION = (2.0, 2.0, 10.0)


def truth() -> np.ndarray:
    mask = np.zeros((40, 40, 2), np.uint8)
    mask[18:22, 18:22, 0] = AcdcLabel.LV
    return mask


def constant(lv: float, shape: tuple[int, ...] = (40, 40, 2)) -> np.ndarray:
    found = np.zeros((4, *shape), np.float32)
    found[AcdcLabel.BACKGROUND], found[AcdcLabel.LV] = 1 - lv, lv
    return found


def test_the_band_ends_where_the_heart_is_far_and_holds_no_empty_slice() -> None:
    band = heart_band(truth(), np.zeros((40, 40, 2)), SPACING_VOXEL_CALIBRATION)
    pixels = int(BAND_MM / 2)
    assert band[18 - pixels, 20, 0]
    assert not band[18 - pixels - 1, 20, 0]
    assert not band[:, :, 1].any()


def test_the_error_is_how_far_a_constant_probability_is_from_the_share() -> None:
    calibration = VoxelCalibration()
    calibration.add(constant(0.3), truth(), SPACING_VOXEL_CALIBRATION)
    found = calibration.as_json()["lv"]
    share = 16 / found["voxels"]
    assert found["ece"] == pytest.approx(0.3 - share, abs=1e-6)
    assert found["curve"] == [{"probability": pytest.approx(0.3), "share": share, "count": found["voxels"]}]


def test_volumes_add_up() -> None:
    once, twice = VoxelCalibration(), VoxelCalibration()
    once.add(constant(0.2), truth(), SPACING_VOXEL_CALIBRATION)
    for _ in range(2):
        twice.add(constant(0.2), truth(), SPACING_VOXEL_CALIBRATION)
    assert twice.as_json()["lv"]["voxels"] == 2 * once.as_json()["lv"]["voxels"]
    assert twice.as_json()["lv"]["ece"] == pytest.approx(once.as_json()["lv"]["ece"])


def test_what_nobody_labelled_and_what_the_network_does_not_see_does_not_count() -> None:
    label, seen = truth(), constant(0.2)
    label[:, 20:] = UNLABELLED
    seen[:, :20] = 0
    calibration = VoxelCalibration()
    calibration.add(seen, label, SPACING_VOXEL_CALIBRATION, structures=(AcdcLabel.LV,))
    # Left are the band's rows from the middle on, in the labelled half of the first slice.
    band = heart_band(label, seen.argmax(axis=0), SPACING_VOXEL_CALIBRATION)
    found = calibration.as_json()
    assert found["lv"]["voxels"] == band[20:, :20].sum() > 0
    assert found["rv"]["ece"] is None
