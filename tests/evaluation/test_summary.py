import json
from collections.abc import Mapping

import pytest

from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.core.records import Phase
from pipelines.evaluation.cases import Case
from pipelines.evaluation.metrics import METRIC_NAMES, StructureMetrics
from pipelines.evaluation.summary import INDEX_FIELDS, summarise

ABSENT = StructureMetrics(None, None, None, None, None, None, None, absent_from="both")
MISSED = StructureMetrics(0.0, 0.0, 0.0, 0.0, 0.0, None, None, absent_from="prediction")


def scored(dice: float, hd95_mm: float = 2.0) -> StructureMetrics:
    return StructureMetrics(dice, dice / (2 - dice), dice, dice, dice, hd95_mm, hd95_mm / 2)


def case(
    patient: str,
    phase: Phase = Phase.ED,
    dice: tuple[float, float, float] = (0.8, 0.7, 0.9),
    *,
    group: str = "NOR",
    lv_ml: tuple[float, float] = (100.0, 100.0),
    seconds: float = 0.2,
    metrics: Mapping[AcdcLabel, StructureMetrics] | None = None,
) -> Case:
    """A case with Dice of RV, MYO, LV and the (predicted, true) LV volume; RV and MYO are 100 mL."""
    volumes = [{AcdcLabel.RV: 100.0, AcdcLabel.MYO: 100.0, AcdcLabel.LV: ml} for ml in lv_ml]
    by_label = metrics or {label: scored(value) for label, value in zip(FOREGROUND, dice, strict=True)}
    return Case(patient, group, phase, 1, by_label, volumes[0], volumes[1], seconds)


def test_mean_is_the_mean_over_structures_of_the_mean_over_volumes() -> None:
    # RV is defined in one volume only: (0.6 + 0.7 + 0.9) / 3, not the mean of the volumes' means
    without_rv = {AcdcLabel.RV: ABSENT, AcdcLabel.MYO: scored(0.8), AcdcLabel.LV: scored(1.0)}
    dice = summarise([case("a", dice=(0.6, 0.6, 0.8)), case("b", metrics=without_rv)])["summary"]["dice"]
    assert dice == pytest.approx({"rv": 0.6, "myo": 0.7, "lv": 0.9, "mean": 2.2 / 3})


def test_every_promised_figure_is_there_with_an_interval() -> None:
    result = summarise([case("a"), case("a", Phase.ES), case("b"), case("b", Phase.ES)])
    for name in METRIC_NAMES:
        assert set(result["summary"][name]) == {"rv", "myo", "lv", "mean"}
    for name in INDEX_FIELDS:
        assert set(result["summary"][name]) == {"mae", "bias", "loa", "pearson"}
    expected = set(METRIC_NAMES) | set(INDEX_FIELDS) | {"seconds_per_volume"}
    assert set(result["summary"]) == expected | {"patients", "volumes"}
    assert set(result["intervals"]) == expected
    assert (result["summary"]["patients"], result["summary"]["volumes"]) == (2, 4)
    json.dumps(result, allow_nan=False)


def test_ejection_fraction_error_is_as_computed_by_hand() -> None:
    cases = [
        case("a", Phase.ED, lv_ml=(100.0, 100.0)),
        case("a", Phase.ES, lv_ml=(40.0, 50.0)),  # EF 60 measured, 50 true
        case("b", Phase.ED, lv_ml=(200.0, 200.0)),
        case("b", Phase.ES, lv_ml=(140.0, 136.0)),  # EF 30 measured, 32 true
    ]
    summary = summarise(cases)["summary"]
    assert (summary["ef_lv"]["mae"], summary["ef_lv"]["bias"]) == pytest.approx((6.0, 4.0))
    assert summary["ef_lv"]["loa"] == pytest.approx([4 - 1.96 * 72**0.5, 4 + 1.96 * 72**0.5])
    assert summary["esv_lv_ml"]["mae"] == pytest.approx(7.0)
    assert summary["edv_lv_ml"]["mae"] == 0.0
    assert summary["mass_g"]["mae"] == 0.0


def test_a_patient_with_one_phase_counts_for_dice_but_not_for_ef() -> None:
    both = [case("a", Phase.ED), case("a", Phase.ES, lv_ml=(50.0, 50.0))]
    alone = case("b", Phase.ED, dice=(0.2, 0.1, 0.3), lv_ml=(80.0, 100.0))
    result = summarise([*both, alone])
    assert result["summary"]["ef_lv"]["mae"] == 0.0
    assert result["summary"]["dice"]["lv"] == pytest.approx((0.9 + 0.9 + 0.3) / 3)
    assert result["patients"][1]["predicted"]["lv_ef_percent"] is None
    assert result["patients"][1]["predicted"]["reason"] == "no ES label map"


def test_a_missed_structure_lowers_dice_and_is_counted_where_it_has_no_distance() -> None:
    missed = {AcdcLabel.RV: MISSED, AcdcLabel.MYO: scored(0.8), AcdcLabel.LV: scored(0.9)}
    result = summarise([case("a", dice=(0.8, 0.8, 0.9)), case("b", metrics=missed)])
    assert result["summary"]["dice"]["rv"] == pytest.approx(0.4)
    assert result["summary"]["hd95_mm"]["rv"] == 2.0
    assert result["absent_from"]["rv"] == {"prediction": 1, "truth": 0, "both": 0}
    assert result["cases"][1]["hd95_mm"]["rv"] is None
    assert result["cases"][1]["absent_from"]["rv"] == "prediction"


def test_intervals_hold_the_estimate_and_stay_the_same_under_a_seed() -> None:
    cases = [case(f"p{index}", dice=(0.5 + 0.04 * index,) * 3) for index in range(10)]
    first, again = (summarise(cases, seed=3)["intervals"] for _ in range(2))
    low, high = first["dice"]["lv"]
    assert 0.5 <= low < 0.68 < high <= 0.86
    assert first == again


def test_intervals_resample_patients_not_volumes() -> None:
    # Both volumes of a patient move together, so the spread is that of two patients, not of four volumes.
    cases = [case(p, phase, dice=(d,) * 3) for p, d in (("a", 0.6), ("b", 0.8)) for phase in Phase]
    assert summarise(cases)["intervals"]["dice"]["mean"] == pytest.approx([0.6, 0.8])


def test_one_patient_has_no_interval() -> None:
    intervals = summarise([case("a"), case("a", Phase.ES)])["intervals"]
    assert intervals["dice"]["mean"] is None
    assert intervals["ef_lv"]["loa"] is None
    assert intervals["seconds_per_volume"] is None


def test_phases_and_groups_are_summed_up_apart() -> None:
    cases = [
        case("a", Phase.ED, (0.9, 0.9, 0.9), group="DCM"),
        case("a", Phase.ES, (0.7, 0.7, 0.7), group="DCM"),
        case("b", Phase.ED, (0.5, 0.5, 0.5), group="HCM"),
    ]
    result = summarise(cases)
    assert result["by_phase"]["ED"]["dice"]["mean"] == pytest.approx(0.7)
    assert result["by_phase"]["ES"]["dice"]["mean"] == pytest.approx(0.7)
    assert result["by_phase"]["ES"]["volumes"] == 1
    assert result["by_group"]["DCM"]["dice"]["mean"] == pytest.approx(0.8)
    assert result["by_group"]["HCM"]["ef_lv"]["mae"] is None


def test_seconds_per_volume_is_the_median() -> None:
    cases = [case("a", seconds=9.0), case("b", seconds=0.1), case("c", seconds=0.3)]
    assert summarise(cases)["summary"]["seconds_per_volume"] == 0.3


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        summarise([])
