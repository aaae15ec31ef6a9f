import csv
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from PIL import Image
from report_folders import page_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume, read_label
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.evaluation.error_files import explore_heart_errors, explore_xray_errors
from pipelines.evaluation.heart_errors import analyse_hearts, blood_contrast
from pipelines.reporting.report import write_result_page
from pipelines.reporting.results.errors import findings

AFFINE = np.diag([-1.5, -1.5, 10.0, 1.0])


def truth_mask(size: int) -> np.ndarray:
    """RV, and a ring that is smaller in each of 6 slices, around an LV."""
    mask = np.zeros((48, 40, 6), np.uint8)
    for index in range(6):
        side = size - index
        mask[4:9, 10:20, index] = AcdcLabel.RV
        mask[12 : 12 + side, 10 : 10 + side, index] = AcdcLabel.MYO
        mask[14 : 10 + side, 12 : 8 + side, index] = AcdcLabel.LV
    return mask


@dataclass
class Segmented:
    mask: np.ndarray


class WithoutFirstRv:
    """The truth without the RV of the first slice, 90% sure."""

    def predict(self, volume: Volume) -> Segmented:
        assert volume.path is not None
        mask = read_label(volume.path.with_name(volume.path.name.replace(".nii.gz", "_gt.nii.gz"))).array
        first = mask[:, :, 0]
        first[first == AcdcLabel.RV] = 0
        return Segmented(mask)

    def probabilities(self, volume: Volume) -> np.ndarray:
        mask = self.predict(volume).mask
        sure = np.where(np.arange(4)[:, None, None, None] == mask, 0.91, 0.03)
        return sure.astype(np.float32)


@dataclass
class Explored:
    root: Path
    output: Path
    content: dict[str, Any]


@pytest.fixture(scope="module")
def explored(tmp_path_factory: pytest.TempPathFactory) -> Explored:
    root = tmp_path_factory.mktemp("hearts")
    for number, group in enumerate(("NOR", "DCM", "NOR"), start=1):
        name = f"patient{number:03d}"
        folder = root / "training" / name
        folder.mkdir(parents=True)
        (folder / "Info.cfg").write_text(f"ED: 1\nES: 7\nGroup: {group}\nNbFrame: 20\n", encoding="utf-8")
        for frame, size in ((1, 20 + number), (7, 16 + number)):
            mask = truth_mask(size)
            image = np.random.default_rng(frame).normal(100, 5, mask.shape).astype(np.float32) + 60 * mask
            nib.save(nib.Nifti1Image(image, AFFINE), folder / f"{name}_frame{frame:02d}.nii.gz")
            nib.save(nib.Nifti1Image(mask, AFFINE), folder / f"{name}_frame{frame:02d}_gt.nii.gz")
    output = root / "out"
    return Explored(root, output, explore_heart_errors(root, output, WithoutFirstRv(), count=2))


def level(explored: Explored, factor: str, name: str, structure: str) -> dict[str, Any]:
    return next(
        row
        for row in explored.content["levels"]
        if (row["factor"], row["level"], row["structure"]) == (factor, name, structure)
    )


def test_the_slice_that_is_missed_lowers_the_dice_of_the_base_alone(explored: Explored) -> None:
    # Of the two basal slices one is found: 2 * 50 / (100 + 50).
    assert level(explored, "position", "base", "rv")["dice"] == pytest.approx(2 / 3)
    assert level(explored, "position", "mid", "rv")["dice"] == 1
    assert level(explored, "position", "base", "lv")["dice"] == 1


def test_slices_are_counted_and_listed(explored: Explored) -> None:
    [base] = [
        row for row in explored.content["one_sided"] if (row["structure"], row["position"]) == ("rv", "base")
    ]
    assert (base["slices"], base["missed"], base["invented"]) == (12, 6, 0)
    assert (base["large"], base["gross"]) == (12, 6)  # 50 pixels of 1.5 x 1.5 x 10 mm are 1.125 mL
    with (explored.output / "slices.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 * 6 * 3
    missed = [row for row in rows if row["kind"] == "missed"]
    assert {(row["slice"], row["structure"], row["position"]) for row in missed} == {("1", "rv", "base")}


def test_groups_phases_and_thirds_of_factors_are_levels(explored: Explored) -> None:
    assert level(explored, "group", "NOR", "mean")["patients"] == 2
    assert level(explored, "phase", "ES", "rv")["count"] == 3
    assert level(explored, "pixel spacing", "1.5 mm", "rv")["dice"] == pytest.approx(10 / 11)


def test_the_missed_volume_is_the_bias_of_the_right_ventricle(explored: Explored) -> None:
    found = explored.content["agreement"]["edv_rv_ml"]
    # 50 voxels of 1.5 x 1.5 x 10 mm in each patient
    assert found["figures"]["bias"] == pytest.approx(-1.125)
    assert found["figures"]["sd"] == pytest.approx(0, abs=1e-9)
    assert explored.content["agreement"]["ef_lv"]["figures"]["bias"] == pytest.approx(0)


def test_the_page_tells_what_is_wrong_and_shows_it(explored: Explored) -> None:
    page = write_result_page(explored.output, explored.output / "errors.html").read_text(encoding="utf-8")
    assert "RV missed in slice 1 (base), 1.1 mL" in page
    assert page.count("data:image/png;base64") == 5 + 2 + 1
    names = sorted(path.name for path in (explored.output / "pictures").iterdir())
    assert names[2] == "uncertainty.png"
    assert len(names) == 3
    assert "6 are missed altogether and 0 are false positives" in findings(explored.content)[1]
    assert (
        "slices with more than 1 mL of a structure, 6 have a Dice below 0.5" in findings(explored.content)[2]
    )
    assert json.loads((explored.output / "errors.json").read_text(encoding="utf-8")) == explored.content


def test_the_markdown_page_has_tables_and_plots_but_no_patient_picture(
    explored: Explored, tmp_path: Path
) -> None:
    text = page_of(tmp_path, explored.output)
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [
        "page-agreement_lv.png",
        "page-agreement_rv.png",
        "page-factors.png",
        "page-levels.png",
        "page-reliability.png",
    ]
    assert all(f"]({name})" in text for name in pictures)
    assert "10.1186/s12968-015-0170-9" in text
    assert "| RV, base | 12 | 6 | 0 |" in text


def test_a_bad_label_is_skipped_and_nothing_left_is_an_error(tmp_path: Path, explored: Explored) -> None:
    source = explored.root / "training" / "patient001"
    folder = tmp_path / "training" / "patient001"
    folder.mkdir(parents=True)
    for path in source.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    label = folder / "patient001_frame01_gt.nii.gz"
    nib.save(nib.Nifti1Image(np.full((48, 40, 6), 7, np.uint8), AFFINE), label)
    found = analyse_hearts(tmp_path, WithoutFirstRv())
    assert len(found.volumes) == 1
    assert "7" in found.problems[0].reason
    nib.save(
        nib.Nifti1Image(np.full((48, 40, 6), 9, np.uint8), AFFINE), folder / "patient001_frame07_gt.nii.gz"
    )
    with pytest.raises(DataError, match="can be measured"):
        analyse_hearts(tmp_path, WithoutFirstRv())


def test_contrast_is_the_distance_of_the_means_in_standard_deviations() -> None:
    truth = np.array([2, 2, 3, 3], np.uint8).reshape(2, 2, 1)
    image = np.array([9.0, 11.0, 29.0, 31.0]).reshape(2, 2, 1)
    assert blood_contrast(image, truth) == pytest.approx(20)
    assert np.isnan(blood_contrast(image, np.zeros_like(truth)))


def evaluation(folder: Path, *, wrong: int) -> Path:
    cases: list[dict[str, Any]] = []
    for index in range(20):
        path = folder / f"{index}.png"
        Image.fromarray((255 * phantom_xray(np.random.default_rng(index), side_px=64)).astype(np.uint8)).save(
            path
        )
        cases.append(
            {
                "image": str(path),
                "patient": f"h{index}",
                "finding": "NORMAL",
                "agent": "",
                "probability": 0.95 if index < wrong else 0.1,
                "is_correct": index >= wrong,
            }
        )
    (folder / "metrics.json").write_text(json.dumps({"cases": cases}), encoding="utf-8")
    return folder


def test_page_table_and_tensorboard_show_all_wrong_images(tmp_path: Path) -> None:
    found = explore_xray_errors(evaluation(tmp_path, wrong=14), tmp_path / "out")
    page = write_result_page(tmp_path / "out", tmp_path / "out" / "errors.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64") == 2  # twelve to a sheet
    assert "14 of 20 images are misclassified" in page
    reasons = [one for one in found.types if one.errors]
    assert page.count("<tr>") == 1 + len(found.types) + 1 + len(reasons)
    with (tmp_path / "out" / "errors.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["is_correct"] for row in rows] == ["False"] * 14 + ["True"] * 6
    assert float(rows[0]["brightness"]) == pytest.approx(found.cases[0]["attributes"]["brightness"])
    assert (
        json.loads((tmp_path / "out" / "errors.json").read_text(encoding="utf-8"))["types"][0]["errors"] == 14
    )
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert events.Tags()["images"] == ["test/misclassified"]


def test_no_errors_are_reported(tmp_path: Path) -> None:
    explore_xray_errors(evaluation(tmp_path, wrong=0), tmp_path / "out")
    assert "No image is misclassified." in page_of(tmp_path / "docs", tmp_path / "out")


def test_a_folder_without_an_evaluation_is_reported(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected an evaluation"):
        explore_xray_errors(tmp_path, tmp_path / "out")


def test_error_types_are_listed_without_the_images(tmp_path: Path) -> None:
    kind = {"name": "dark", "images": 5, "errors": 2, "share_of_errors": 0.5, "error_rate": 0.4}
    kind |= {"other_rate": 0.1, "interval": [0.05, 0.6], "p_value": 0.02, "example": "/data/a.png"}
    cases = [{"is_correct": index > 3} for index in range(25)]
    (tmp_path / "errors.json").write_text(json.dumps({"types": [kind], "cases": cases}), encoding="utf-8")
    text = page_of(tmp_path / "docs", tmp_path)
    assert "4 of 25 images are misclassified" in text
    assert "| dark | 5 | 2 | 50.0 | 40.0 | 10.0 | 37.5 | +5.0 to +60.0 | 0.020 | `a.png` |" in text
    # At the rate of the other images, 0.5 of the 2 errors would have happened: 1.5 of 4 errors remain.
    assert "| dark | 37.5 | Overexposed lungs hide faint consolidation. |" in text
    assert (
        "Look first at errors of this kind: dark (38%). Overexposed lungs hide faint consolidation." in text
    )
