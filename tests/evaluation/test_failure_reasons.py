import numpy as np

from pipelines.core.labels import AcdcLabel
from pipelines.evaluation.failure_reasons import Fault, find_reasons, in_words

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


def test_a_missed_and_an_invented_slice_are_told_with_place_and_volume() -> None:
    truth, mask = ring(), ring()
    mask[:, :, 2][truth[:, :, 2] == AcdcLabel.RV] = 0
    truth[:, :, 0][truth[:, :, 0] == AcdcLabel.RV] = 0
    missed, invented = sorted(find_reasons(mask, truth, SPACING), key=lambda reason: reason.fault)[::-1]
    assert (missed.fault, missed.slices, missed.volume_ml) == (Fault.MISSED, (3,), 0.48)
    assert invented.words == "RV invented in slice 1 (apex), 0.5 mL"


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


def test_a_leak_and_a_cut_are_told_apart() -> None:
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
