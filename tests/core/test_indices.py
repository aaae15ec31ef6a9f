import numpy as np
import pytest

from pipelines.core.cardiac import cardiac_indices, structure_volumes_ml
from pipelines.core.records import AcdcLabel

SPACING_MM = (2.0, 2.5, 10.0)  # 50 mm3, so 20 voxels make 1 mL


def label_map(*, rv: int = 0, myo: int = 0, lv: int = 0) -> np.ndarray:
    """A `(20, 20, 4)` map with that many voxels of each structure."""
    flat = np.zeros(1600, dtype=np.uint8)
    flat[: rv + myo + lv] = np.repeat([AcdcLabel.RV, AcdcLabel.MYO, AcdcLabel.LV], [rv, myo, lv])
    return flat.reshape(20, 20, 4)


def test_twenty_voxels_of_50_mm3_are_one_millilitre() -> None:
    assert structure_volumes_ml(label_map(lv=20), SPACING_MM)[AcdcLabel.LV] == pytest.approx(1.0)


def test_an_absent_structure_has_volume_zero() -> None:
    assert structure_volumes_ml(label_map(lv=20), SPACING_MM)[AcdcLabel.RV] == 0.0


@pytest.mark.parametrize("spacing_mm", [(1.0, 0.0, 8.0), (1.0, 1.0, -8.0)])
def test_a_spacing_that_is_not_positive_is_refused(spacing_mm: tuple[float, float, float]) -> None:
    with pytest.raises(ValueError, match="positive"):
        structure_volumes_ml(label_map(), spacing_mm)


def test_a_cine_is_refused_as_a_mask() -> None:
    with pytest.raises(ValueError, match="3-D"):
        structure_volumes_ml(np.zeros((4, 4, 4, 2), np.uint8), SPACING_MM)


def test_indices_follow_from_voxel_counts() -> None:
    indices = cardiac_indices(
        label_map(rv=400, myo=200, lv=300), label_map(rv=240, myo=200, lv=120), SPACING_MM, SPACING_MM
    )
    assert (indices.lv_edv_ml, indices.lv_esv_ml, indices.lv_sv_ml) == pytest.approx((15.0, 6.0, 9.0))
    assert (indices.rv_edv_ml, indices.rv_esv_ml, indices.rv_sv_ml) == pytest.approx((20.0, 12.0, 8.0))
    assert indices.lv_ef_percent == pytest.approx(60.0)
    assert indices.rv_ef_percent == pytest.approx(40.0)
    assert indices.myo_mass_ed_g == pytest.approx(10.5)
    assert indices.reason == ""


def test_each_phase_is_measured_with_its_own_spacing() -> None:
    ed = label_map(rv=10, myo=10, lv=100)
    indices = cardiac_indices(ed, ed, (1.0, 1.0, 10.0), (1.0, 1.0, 5.0))
    assert indices.lv_ef_percent == pytest.approx(50.0)


@pytest.mark.parametrize("missing", ["ED", "ES"])
def test_a_missing_phase_leaves_ef_empty_with_a_reason(missing: str) -> None:
    mask = label_map(rv=20, myo=20, lv=20)
    indices = cardiac_indices(
        None if missing == "ED" else mask, None if missing == "ES" else mask, SPACING_MM, SPACING_MM
    )
    assert indices.lv_ef_percent is None
    assert indices.rv_sv_ml is None
    assert indices.reason == f"no {missing} label map"
    assert (indices.lv_edv_ml is None) == (missing == "ED")
    assert (indices.myo_mass_ed_g is None) == (missing == "ED")


def test_an_end_diastolic_volume_of_zero_leaves_that_ef_empty_only() -> None:
    mask = label_map(rv=20, myo=20)
    indices = cardiac_indices(mask, mask, SPACING_MM, SPACING_MM)
    assert indices.lv_ef_percent is None
    assert indices.rv_ef_percent == pytest.approx(0.0)
    assert indices.reason == "LV volume at ED is 0 mL"
