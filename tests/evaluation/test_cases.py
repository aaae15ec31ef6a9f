from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.core.records import Phase
from pipelines.evaluation.cases import Case
from pipelines.evaluation.metrics import StructureMetrics

ABSENT = StructureMetrics(None, None, None, None, None, None, None, absent_from="both")
FOUND = StructureMetrics(0.8, 0.6, 0.7, 0.9, 0.8, 3.0, 1.0)


def case(*, lv: StructureMetrics) -> Case:
    metrics = {AcdcLabel.RV: ABSENT, AcdcLabel.MYO: FOUND, AcdcLabel.LV: lv}
    volumes = dict.fromkeys(FOREGROUND, 5.0)
    return Case("patient007", "MINF", Phase.ES, 12, metrics, volumes, volumes, 0.25)


def test_mean_leaves_absent_structures_out() -> None:
    perfect = StructureMetrics(1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0)
    assert case(lv=perfect).mean("dice") == 0.9


def test_mean_is_none_where_no_structure_has_the_metric() -> None:
    empty = Case("p", "NOR", Phase.ED, 1, dict.fromkeys(FOREGROUND, ABSENT), {}, {}, 0.1)
    assert empty.mean("hd95_mm") is None


def test_json_has_null_for_an_absent_structure_and_says_where_it_is_absent() -> None:
    content = case(lv=FOUND).as_json()
    assert content["dice"] == {"rv": None, "myo": 0.8, "lv": 0.8, "mean": 0.8}
    assert content["absent_from"] == {"rv": "both", "myo": "", "lv": ""}
    assert (content["patient"], content["phase"], content["frame"]) == ("patient007", "ES", 12)


def test_a_row_is_flat_and_names_units() -> None:
    row = case(lv=FOUND).as_row()
    assert row["hd95_mm_lv"] == 3.0
    assert row["volume_lv_ml_truth"] == 5.0
    assert not any(isinstance(value, dict) for value in row.values())
