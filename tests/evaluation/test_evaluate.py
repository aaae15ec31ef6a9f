import csv
import json
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.labels import FOREGROUND
from pipelines.core.records import Phase
from pipelines.core.volume import Volume, read_label, read_volume, slices_last
from pipelines.datasets.acdc import read_acdc
from pipelines.datasets.duplicates import voxel_hash
from pipelines.evaluation.cases import Case
from pipelines.evaluation.evaluate import choose_overlays, evaluate
from pipelines.evaluation.metrics import StructureMetrics

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
    evaluate(tmp_path, tmp_path / "out", ShiftedTruth(), progress=lambda *call: calls.append(call))
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
