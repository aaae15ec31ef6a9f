import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import page_of
from square_heart import write_square_hearts

from pipelines.core.errors import DataError
from pipelines.datasets.prepare import read_datalist
from pipelines.disease import study
from pipelines.disease.measure import mask_of, measure_hearts
from pipelines.disease.study import accuracy_figures, cross_validate, fit, study_disease


@pytest.fixture(scope="module", autouse=True)
def few_trees() -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(study, "TREES", 5)
        patch.setattr(study, "REPEATS", 1)
        patch.setattr(study, "FOLDS", 3)
        yield


def blobs(patients: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Two groups that differ in the first of two features."""
    rng = np.random.default_rng(0)
    groups = np.array(["DCM", "NOR"] * (patients // 2))
    values = rng.normal(0, 1, (patients, 2))
    values[:, 0] += np.where(groups == "DCM", 6, 0)
    return values, groups


NONE = np.full((24, 2), np.nan)


def test_groups_that_differ_are_distinguished_by_the_feature_that_differs() -> None:
    values, groups = blobs()
    found = cross_validate(values, groups, ["size", "noise"], NONE)
    assert (found.predicted == groups).mean() > 0.9
    assert found.importance[0]["feature"] == "size"
    assert (found.predicted_masks == "").all()


def test_masks_are_classified_by_who_has_not_seen_the_patient() -> None:
    values, groups = blobs()
    masks = np.random.default_rng(2).normal(size=values.shape)
    masks[:4] = np.nan
    found = cross_validate(values, groups, ["size", "noise"], masks)
    assert (found.predicted_masks[:4] == "").all()
    assert 0.2 < (found.predicted_masks[4:] == groups[4:]).mean() < 0.8


def test_what_masks_measure_otherwise_is_learned_from_those_of_other_patients() -> None:
    values, groups = blobs()
    masks = values - [20, 0]  # a network that finds both groups far too small
    found = cross_validate(values, groups, ["size", "noise"], masks)
    without = fit(values, groups).predict(masks)
    assert (found.predicted_masks == groups).mean() > (without == groups).mean() + 0.2


def test_random_groups_are_not_distinguished() -> None:
    rng = np.random.default_rng(1)
    groups = np.array(["DCM", "NOR"] * 15)
    found = cross_validate(rng.normal(size=(30, 3)), groups, list("abc"), np.full((30, 3), np.nan))
    assert 0.2 < (found.predicted == groups).mean() < 0.8


def test_too_few_patients_of_a_group_are_refused() -> None:
    values, groups = blobs(6)
    groups[:5] = "NOR"
    groups[5] = "DCM"
    with pytest.raises(DataError, match="at least 2 patients of each group.*found 1"):
        cross_validate(values, groups, ["size", "noise"], NONE[:6])
    with pytest.raises(DataError, match="two groups or more, found NOR"):
        fit(values[:5], groups[:5])


def test_accuracy_has_wilsons_interval_and_a_confusion_matrix() -> None:
    truth, predicted = np.array(["A"] * 8 + ["B"] * 2), np.array(["A"] * 7 + ["B"] * 3)
    found = accuracy_figures(truth, predicted, [str(index) for index in range(10)])
    assert (found["right"], found["accuracy"]) == (9, 0.9)
    assert found["interval"] == pytest.approx([0.5958, 0.9821], abs=1e-3)  # Wilson, 9 of 10
    assert found["confusion"] == [[7, 1], [0, 2]]
    assert found["cases"][7] == {"patient": "7", "group": "A", "predicted": "B"}


@pytest.fixture(scope="module")
def datalist(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("hearts")
    write_square_hearts(folder)
    return read_datalist(folder)


def test_a_study_measures_truth_and_masks_and_the_test_set_when_asked(
    datalist: dict[str, Any], tmp_path: Path
) -> None:
    masks = tmp_path / "masks"
    masks.mkdir()
    some = [item for item in datalist["volumes"] if item["part"] in ("test", 0)]
    for item in some:
        shutil.copy(item["label"], masks / Path(item["image"]).name)
    study_disease(datalist, tmp_path / "out", masks=masks, hold_out=True)
    written = json.loads((tmp_path / "out" / "disease.json").read_text(encoding="utf-8"))
    inner, held = written["cross_validation"], written["hold_out"]
    assert inner["truth"]["accuracy"] == 1.0
    assert inner["truth"]["patients"] == 8
    assert inner["masks"]["patients"] == len({item["patient"] for item in some if item["part"] == 0})
    assert held["truth"]["accuracy"] == 1.0
    assert held["truth"]["cases"] == held["masks"]["cases"]  # these masks are the true ones
    assert (
        (tmp_path / "out" / "features.csv")
        .read_text(encoding="utf-8")
        .startswith("patient,group,source,lv_edv_ml")
    )
    # The patients without a mask are named.
    assert {problem["source"] for problem in written["problems"]} == {"masks"}
    page = write_disease_page(tmp_path)
    assert "| test set, predicted masks | 4 | 4 | 1.000 |" in page
    assert "this is no diagnosis" in page


def write_disease_page(folder: Path) -> str:
    command = ["thorax", "disease", "runs/acdc", "--output", "runs/disease"]
    (folder / "out" / "manifest.json").write_text(json.dumps({"command": command}), encoding="utf-8")
    page = page_of(folder / "docs", folder / "out")
    for name in ("page-confusion.png", "page-importance.png"):
        assert (folder / "docs" / name).stat().st_size > 0
        assert f"]({name})" in page
    assert "thorax disease runs/acdc --output runs/disease" in page
    return page


def test_without_the_test_set_and_masks_they_are_not_reported(
    datalist: dict[str, Any], tmp_path: Path
) -> None:
    content = study_disease(datalist, tmp_path)
    assert content["hold_out"] is None
    assert content["cross_validation"]["masks"] is None


def test_patients_without_masks_are_skipped_with_the_names_looked_for(
    datalist: dict[str, Any], tmp_path: Path
) -> None:
    hearts, problems = measure_hearts(datalist["volumes"][:2], masks=tmp_path)
    assert hearts == []
    assert "_frame01.nii.gz or" in problems[0].reason
    assert "_frame01_seg.nii.gz" in problems[0].reason


def test_a_patient_with_one_phase_is_skipped(datalist: dict[str, Any]) -> None:
    hearts, problems = measure_hearts(datalist["volumes"][:1])
    assert hearts == []
    assert "expected ED and ES, found ED" in problems[0].reason


def test_masks_of_segment_are_found_by_their_name(tmp_path: Path) -> None:
    mask = tmp_path / "patient001_frame01_seg.nii.gz"
    mask.touch()
    assert mask_of(Path("/data/patient001_frame01.nii.gz"), tmp_path) == mask
