import pytest
from square_heart import square_heart as heart

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.disease.measure import disease_features


def test_features_are_those_counted_by_hand() -> None:
    found = disease_features(heart(20, 4), heart(10, 6, rv=5))
    assert found["lv_edv_ml"] == pytest.approx(8.0)
    assert found["lv_esv_ml"] == pytest.approx(2.0)
    assert found["lv_ef_percent"] == pytest.approx(75.0)
    assert found["rv_ef_percent"] == pytest.approx(50.0)
    myo_ed, myo_es = (28**2 - 20**2) * 0.02, (22**2 - 10**2) * 0.02
    assert found["myo_mass_ed_g"] == pytest.approx(1.05 * myo_ed)
    assert found["myo_es_ml"] == pytest.approx(myo_es)
    assert found["lv_to_rv_ed"] == pytest.approx(8.0 / 2.0)
    assert found["myo_to_lv_es"] == pytest.approx(myo_es / 2.0)
    assert found["wall_max_ed_mm"] == pytest.approx(4.0)
    assert found["wall_mean_es_mm"] == pytest.approx(6.0)
    assert found["thickening_percent"] == pytest.approx(50.0)
    assert not [name for name in found if name.endswith("_m2")]


def test_volumes_are_given_for_the_body_surface_where_it_is_known() -> None:
    found = disease_features(heart(20, 4), heart(10, 6), height_cm=180, weight_kg=80)
    assert found["lv_edv_ml_m2"] == pytest.approx(4.0)


def test_a_label_map_without_a_structure_is_refused_by_phase() -> None:
    es = heart(10, 6)
    es.array[es.array == AcdcLabel.RV] = 0
    with pytest.raises(DataError, match="expected RV, MYO and LV at ES, found no rv"):
        disease_features(heart(20, 4), es)
