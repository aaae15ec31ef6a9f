import csv
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
from monai.metrics import compute_average_surface_distance, compute_hausdorff_distance

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.progress import progress_to
from pipelines.core.records import FOREGROUND, AcdcLabel, Phase
from pipelines.core.volume import Volume, read_label, read_volume, slices_last
from pipelines.datasets.duplicates import voxel_hash
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.evaluation.segmentation import (
    INDEX_FIELDS,
    METRIC_NAMES,
    Case,
    StructureMetrics,
    choose_overlays,
    evaluate,
    mean_dice,
    structure_dice,
    summarise,
    volume_metrics,
)
from pipelines.models.heart import Prediction

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


MISSED = StructureMetrics(0.0, 0.0, 0.0, 0.0, 0.0, None, None, absent_from="prediction")


def scored(dice: float, hd95_mm: float = 2.0) -> StructureMetrics:
    return StructureMetrics(dice, dice / (2 - dice), dice, dice, dice, hd95_mm, hd95_mm / 2)


def summary_case(
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
    dice = summarise([summary_case("a", dice=(0.6, 0.6, 0.8)), summary_case("b", metrics=without_rv)])[
        "summary"
    ]["dice"]
    assert dice == pytest.approx({"rv": 0.6, "myo": 0.7, "lv": 0.9, "mean": 2.2 / 3})


def test_every_promised_figure_is_there_with_an_interval() -> None:
    result = summarise(
        [summary_case("a"), summary_case("a", Phase.ES), summary_case("b"), summary_case("b", Phase.ES)]
    )
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
        summary_case("a", Phase.ED, lv_ml=(100.0, 100.0)),
        summary_case("a", Phase.ES, lv_ml=(40.0, 50.0)),  # EF 60 measured, 50 true
        summary_case("b", Phase.ED, lv_ml=(200.0, 200.0)),
        summary_case("b", Phase.ES, lv_ml=(140.0, 136.0)),  # EF 30 measured, 32 true
    ]
    summary = summarise(cases)["summary"]
    assert (summary["ef_lv"]["mae"], summary["ef_lv"]["bias"]) == pytest.approx((6.0, 4.0))
    assert summary["ef_lv"]["loa"] == pytest.approx([4 - 1.96 * 72**0.5, 4 + 1.96 * 72**0.5])
    assert summary["esv_lv_ml"]["mae"] == pytest.approx(7.0)
    assert summary["edv_lv_ml"]["mae"] == 0.0
    assert summary["mass_g"]["mae"] == 0.0


def test_a_patient_with_one_phase_counts_for_dice_but_not_for_ef() -> None:
    both = [summary_case("a", Phase.ED), summary_case("a", Phase.ES, lv_ml=(50.0, 50.0))]
    alone = summary_case("b", Phase.ED, dice=(0.2, 0.1, 0.3), lv_ml=(80.0, 100.0))
    result = summarise([*both, alone])
    assert result["summary"]["ef_lv"]["mae"] == 0.0
    assert result["summary"]["dice"]["lv"] == pytest.approx((0.9 + 0.9 + 0.3) / 3)
    assert result["patients"][1]["predicted"]["lv_ef_percent"] is None
    assert result["patients"][1]["predicted"]["reason"] == "no ES label map"


def test_a_missed_structure_lowers_dice_and_is_counted_where_it_has_no_distance() -> None:
    missed = {AcdcLabel.RV: MISSED, AcdcLabel.MYO: scored(0.8), AcdcLabel.LV: scored(0.9)}
    result = summarise([summary_case("a", dice=(0.8, 0.8, 0.9)), summary_case("b", metrics=missed)])
    assert result["summary"]["dice"]["rv"] == pytest.approx(0.4)
    assert result["summary"]["hd95_mm"]["rv"] == 2.0
    assert result["absent_from"]["rv"] == {"prediction": 1, "truth": 0, "both": 0}
    assert result["cases"][1]["hd95_mm"]["rv"] is None
    assert result["cases"][1]["absent_from"]["rv"] == "prediction"


def test_intervals_hold_the_estimate_and_stay_the_same_under_a_seed() -> None:
    cases = [summary_case(f"p{index}", dice=(0.5 + 0.04 * index,) * 3) for index in range(10)]
    first, again = (summarise(cases, seed=3)["intervals"] for _ in range(2))
    low, high = first["dice"]["lv"]
    assert 0.5 <= low < 0.68 < high <= 0.86
    assert first == again


def test_intervals_resample_patients_not_volumes() -> None:
    # Both volumes of a patient move together, so the spread is that of two patients, not of four volumes.
    cases = [summary_case(p, phase, dice=(d,) * 3) for p, d in (("a", 0.6), ("b", 0.8)) for phase in Phase]
    assert summarise(cases)["intervals"]["dice"]["mean"] == pytest.approx([0.6, 0.8])


def test_one_patient_has_no_interval() -> None:
    intervals = summarise([summary_case("a"), summary_case("a", Phase.ES)])["intervals"]
    assert intervals["dice"]["mean"] is None
    assert intervals["ef_lv"]["loa"] is None
    assert intervals["seconds_per_volume"] is None


def test_phases_and_groups_are_summed_up_apart() -> None:
    cases = [
        summary_case("a", Phase.ED, (0.9, 0.9, 0.9), group="DCM"),
        summary_case("a", Phase.ES, (0.7, 0.7, 0.7), group="DCM"),
        summary_case("b", Phase.ED, (0.5, 0.5, 0.5), group="HCM"),
    ]
    result = summarise(cases)
    assert result["by_phase"]["ED"]["dice"]["mean"] == pytest.approx(0.7)
    assert result["by_phase"]["ES"]["dice"]["mean"] == pytest.approx(0.7)
    assert result["by_phase"]["ES"]["volumes"] == 1
    assert result["by_group"]["DCM"]["dice"]["mean"] == pytest.approx(0.8)
    assert result["by_group"]["HCM"]["ef_lv"]["mae"] is None


def test_seconds_per_volume_is_the_median() -> None:
    cases = [summary_case("a", seconds=9.0), summary_case("b", seconds=0.1), summary_case("c", seconds=0.3)]
    assert summarise(cases)["summary"]["seconds_per_volume"] == 0.3


def test_no_cases_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        summarise([])


AFFINE = np.diag([-1.5, -1.5, 10.0, 1.0])


def truth_mask(lv_columns: int) -> np.ndarray:
    """RV 10 x 10, MYO 10 x 10 and LV `lv_columns` x 10 voxels in each of 3 slices."""
    mask = np.zeros((48, 32, 3), np.uint8)
    mask[4:14, 10:20], mask[18:28, 10:20], mask[32 : 32 + lv_columns, 10:20] = 1, 2, 3
    return mask


def write_patient(
    root: Path, name: str, *, group: str = "NOR", phases: tuple[Phase, ...] = tuple(Phase)
) -> None:
    folder = root / "training" / name
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text(f"ED: 1\nES: 7\nGroup: {group}\nNbFrame: 20\n", encoding="utf-8")
    for phase, frame, lv_columns in ((Phase.ED, 1, 10), (Phase.ES, 7, 5)):
        if phase not in phases:
            continue
        mask = truth_mask(lv_columns)
        image = np.random.default_rng(frame).normal(100, 5, mask.shape).astype(np.float32) + 60 * mask
        nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{name}_frame{frame:02d}.nii.gz")
        nib.save(nib.Nifti1Image(mask, AFFINE), folder / f"{name}_frame{frame:02d}_gt.nii.gz")


@dataclass
class Segmented:
    mask: np.ndarray


class ShiftedTruth:
    """Answers with the label shifted along the first axis, patient by patient."""

    def __init__(self, shifts: dict[str, int] | None = None) -> None:
        self.shifts = shifts or {}

    def predict(self, volume: Volume) -> Segmented:
        assert volume.path is not None
        label = read_label(volume.path.with_name(volume.path.name.replace(".nii.gz", "_gt.nii.gz"))).array
        return Segmented(np.roll(label, self.shifts.get(volume.path.parent.name, 0), axis=0))


def test_the_truth_as_prediction_scores_one(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    summary = evaluate(tmp_path, tmp_path / "out", ShiftedTruth())["summary"]
    assert summary["dice"] == {"rv": 1, "myo": 1, "lv": 1, "mean": 1}
    assert summary["hd95_mm"]["mean"] == 0
    assert summary["ef_lv"]["mae"] == 0


def test_dice_and_distance_of_a_shifted_mask_are_as_computed_by_hand(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    summary = evaluate(tmp_path, tmp_path / "out", ShiftedTruth({"patient001": 2}))["summary"]
    # 8 of 10 columns overlap; of the LV 8 of 10 at ED and 3 of 5 at ES
    assert summary["dice"] == pytest.approx({"rv": 0.8, "myo": 0.8, "lv": 0.7, "mean": 2.3 / 3})
    assert summary["hd95_mm"]["rv"] == pytest.approx(2 * 1.5)
    assert summary["ef_lv"]["mae"] == 0


def test_metrics_json_holds_what_evaluate_returns(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    write_patient(tmp_path, "patient002", group="DCM")
    metrics = evaluate(tmp_path, tmp_path / "out", ShiftedTruth({"patient002": 1}))
    written = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))
    assert written == metrics
    assert {"summary", "intervals", "by_phase", "by_group", "cases", "problems"} <= set(written)
    assert set(written["by_group"]) == {"NOR", "DCM"}
    assert written["patients"][0]["truth"]["lv_ef_percent"] == pytest.approx(50.0)


def test_metrics_csv_has_a_row_per_volume(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    evaluate(tmp_path, tmp_path / "out", ShiftedTruth({"patient001": 2}))
    with (tmp_path / "out" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["patient"], row["phase"]) for row in rows] == [("patient001", "ED"), ("patient001", "ES")]
    assert float(rows[1]["dice_lv"]) == pytest.approx(0.6)
    assert float(rows[0]["volume_lv_ml_truth"]) == pytest.approx(10 * 10 * 3 * 22.5 / 1000)


def test_five_overlays_are_drawn_and_the_worst_comes_first(tmp_path: Path) -> None:
    for number in range(1, 5):
        write_patient(tmp_path, f"patient{number:03d}")
    evaluate(tmp_path, tmp_path / "out", ShiftedTruth({"patient003": 4, "patient002": 1}))
    names = sorted(path.name for path in (tmp_path / "out" / "overlays").iterdir())
    assert len(names) == 5
    assert names[0] == "01_worst_patient003_ES.png"
    assert any("_ED.png" in name for name in names)


def test_a_second_run_leaves_no_overlays_of_the_first(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    write_patient(tmp_path, "patient002")
    evaluate(tmp_path, tmp_path / "out", ShiftedTruth({"patient001": 3}))
    evaluate(tmp_path, tmp_path / "out", ShiftedTruth({"patient002": 3}))
    worst = [path.name for path in (tmp_path / "out" / "overlays").glob("*_worst_patient*")]
    assert worst == ["01_worst_patient002_ES.png"]


def test_one_bad_file_is_listed_and_does_not_stop_the_rest(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    write_patient(tmp_path, "patient002")
    bad = tmp_path / "training" / "patient001" / "patient001_frame01_gt.nii.gz"
    nib.save(nib.Nifti1Image(np.full((48, 32, 3), 7, np.uint8), AFFINE), bad)
    metrics = evaluate(tmp_path, tmp_path / "out", ShiftedTruth())
    assert metrics["summary"]["volumes"] == 3
    [problem] = json.loads((tmp_path / "out" / "metrics.json").read_text(encoding="utf-8"))["problems"]
    assert problem["patient"] == "patient001"
    assert "7" in problem["reason"]


def test_a_label_on_another_grid_is_listed(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    label = tmp_path / "training" / "patient001" / "patient001_frame07_gt.nii.gz"
    nib.save(nib.Nifti1Image(truth_mask(5)[:, :, :2], AFFINE), label)
    metrics = evaluate(tmp_path, tmp_path / "out", ShiftedTruth())
    assert "grid" in metrics["problems"][0]["reason"]
    assert metrics["summary"]["ef_lv"]["mae"] is None


def test_a_cine_in_place_of_a_frame_is_listed(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    frame = tmp_path / "training" / "patient001" / "patient001_frame07.nii.gz"
    nib.save(nib.Nifti1Image(np.random.default_rng(0).random((48, 32, 3, 2)), AFFINE), frame)
    assert "3-D" in evaluate(tmp_path, tmp_path / "out", ShiftedTruth())["problems"][0]["reason"]


def test_a_folder_without_labels_is_an_error(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    for label in tmp_path.rglob("*_gt.nii.gz"):
        label.unlink()
    with pytest.raises(DataError, match="labelled"):
        evaluate(tmp_path, tmp_path / "out", ShiftedTruth())


def test_nothing_that_can_be_evaluated_is_an_error_naming_the_cause(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001", phases=(Phase.ED,))
    label = tmp_path / "training" / "patient001" / "patient001_frame01_gt.nii.gz"
    label.write_bytes(b"")
    with pytest.raises(DataError, match="zero bytes"):
        evaluate(tmp_path, tmp_path / "out", ShiftedTruth())


def test_given_records_are_evaluated_in_place_of_the_whole_folder(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    write_patient(tmp_path, "patient002")
    chosen = read_acdc(tmp_path).patients[1:]
    metrics = evaluate(tmp_path, tmp_path / "out", ShiftedTruth(), records=chosen)
    assert {case["patient"] for case in metrics["cases"]} == {"patient002"}


def test_progress_counts_every_volume(tmp_path: Path) -> None:
    write_patient(tmp_path, "patient001")
    calls: list[tuple[int, int, str]] = []
    with progress_to(lambda *call: calls.append(call)):
        evaluate(tmp_path, tmp_path / "out", ShiftedTruth())
    assert calls == [(1, 2, "patient001 ED"), (2, 2, "patient001 ES")]


def scored_case(patient: str, phase: Phase, dice: float | None) -> Case:
    metrics = StructureMetrics(dice, dice, dice, dice, dice, None, None)
    return Case(patient, "NOR", phase, 1, dict.fromkeys(FOREGROUND, metrics), {}, {}, 0.1)


def test_overlays_cover_worst_median_best_and_both_phases() -> None:
    cases = [scored_case(f"p{index}", Phase.ED, 0.5 + index / 20) for index in range(8)]
    cases.append(scored_case("late", Phase.ES, 0.81))
    chosen = choose_overlays(cases)
    assert list(chosen) == [0, 1, 4, 8, 7]
    assert list(chosen.values()) == ["worst", "low", "median", "worst ES", "best"]


def test_a_volume_without_dice_is_never_worst_or_best() -> None:
    cases = [
        scored_case("empty", Phase.ED, None),
        scored_case("a", Phase.ED, 0.9),
        scored_case("b", Phase.ES, 0.0),
    ]
    assert choose_overlays(cases) == {2: "worst", 1: "median", 0: "low"}


def test_patients_that_the_weights_were_trained_on_are_named_and_left_out_on_request(tmp_path: Path) -> None:
    for number in (1, 2):
        write_patient(tmp_path, f"patient{number:03d}")
    image = tmp_path / "training" / "patient002" / "patient002_frame01.nii.gz"
    stored = nib.load(image)
    nib.save(nib.Nifti1Image(np.asarray(stored.dataobj) + 1, stored.affine), image)
    seen = frozenset({voxel_hash(slices_last(read_volume(image))[0].array)})
    metrics = evaluate(tmp_path, tmp_path / "all", ShiftedTruth(), seen=seen)
    assert metrics["seen_patients"] == ["patient002"]
    assert metrics["summary"]["patients"] == 2
    metrics = evaluate(tmp_path, tmp_path / "unseen", ShiftedTruth(), seen=seen, unseen_only=True)
    assert metrics["seen_patients"] == ["patient002"]
    assert {case["patient"] for case in metrics["cases"]} == {"patient001"}
    assert evaluate(tmp_path, tmp_path / "unknown", ShiftedTruth())["seen_patients"] is None
    with pytest.raises(ConfigError, match=r"expected weights with a list of the images .* found none"):
        evaluate(tmp_path, tmp_path / "refused", ShiftedTruth(), unseen_only=True)


def test_a_structure_that_neither_mask_has_is_none_and_does_not_count_in_the_mean() -> None:
    found, truth = (np.array(values).reshape(4, 1, 1) for values in ([3, 3, 0, 2], [3, 0, 0, 0]))
    dice = structure_dice(found, truth)
    assert dice == {"rv": None, "myo": 0.0, "lv": pytest.approx(2 / 3), "mean": pytest.approx(1 / 3)}


def test_each_structure_is_averaged_over_the_volumes_that_have_it(tmp_path: Path) -> None:
    class Same:
        def predict(self, volume: Volume) -> Prediction:
            return Prediction(volume.array.astype(np.uint8), {})

    items = []
    for name, image, label in (("one", [1, 3], [1, 3]), ("two", [3, 0], [0, 3])):
        paths = {"image": tmp_path / f"{name}.nii.gz", "label": tmp_path / f"{name}_seg.nii.gz"}
        for key, values in (("image", image), ("label", label)):
            array = np.array(values, dtype=np.uint8).reshape(2, 1, 1)
            nib.save(nib.Nifti1Image(array, np.eye(4)), paths[key])
        items.append(paths)
    assert mean_dice(Same(), items) == {"rv": 1.0, "myo": None, "lv": 0.5, "mean": 0.75}
    assert mean_dice(Same(), []) == dict.fromkeys(("rv", "myo", "lv", "mean"))
