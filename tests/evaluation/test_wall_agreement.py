"""Tests of the agreement of the wall's figures."""

from dataclasses import replace

import numpy as np
import pytest
from small_hearts import AFFINE, heart_label

from pipelines.core.records import Phase
from pipelines.core.volume import Volume
from pipelines.core.wall import Rings, find_rings
from pipelines.evaluation.statistics import wall_agreement


def rings(lv_px: float) -> Rings:
    label = Volume(heart_label(lv_px), AFFINE, (2.0, 2.0, 10.0))
    return find_rings(replace(label, array=np.ascontiguousarray(label.array)))


def test_equal_masks_agree_and_a_larger_es_cavity_shortens_less() -> None:
    ed, es, wide = rings(10), rings(6), rings(8)
    same = [(name, phase, (one, one)) for name in "ab" for phase, one in ((Phase.ED, ed), (Phase.ES, es))]
    found = wall_agreement(same)
    assert found["wall_mean_ed_mm"]["pairs"] == 2
    assert found["wall_mean_ed_mm"]["mae"] == 0
    assert found["strain_endo_percent"]["bias"] == 0
    other = [
        (name, phase, (one, true))
        for name, phase, one, true in (
            ("a", Phase.ED, ed, ed),
            ("a", Phase.ES, wide, es),
            ("b", Phase.ED, ed, ed),
            ("b", Phase.ES, wide, es),
        )
    ]
    assert wall_agreement(other)["strain_endo_percent"]["bias"] == pytest.approx(20, abs=2)


def test_a_patient_with_one_phase_counts_for_nothing() -> None:
    assert wall_agreement([("a", Phase.ED, (rings(8), rings(8)))]) == {}
