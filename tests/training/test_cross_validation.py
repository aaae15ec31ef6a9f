"""Every patient outside the test set is measured once, by a network that has not learned from it."""

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from report_folders import page_of

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import exclusive_lock
from pipelines.core.progress import progress_to
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.evaluation.segmentation import read_cases
from pipelines.training.cross_validation import cross_validate, folds_of, parse_folds

from .conftest import NARROW

SETTINGS: dict[str, Any] = {
    "precision": "fp32",
    "spacing_mm": 3.0,
    "field_px": [64, 64],
    "patch_px": [64, 64],
    "batch_size": 4,
    "max_epochs": 2,
    "val_interval": 1,
    **NARROW["unet"],
}


@pytest.fixture(scope="module")
def prepared(cohort: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One patient in the test set, three in three folds."""
    folder = tmp_path_factory.mktemp("prepared")
    prepare_acdc(cohort, folder)
    return folder


@pytest.fixture(scope="module")
def whole(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fold 1 by one call; then the others, stopped in the second epoch of fold 0 and resumed."""
    output = tmp_path_factory.mktemp("cross") / "cv"
    assert cross_validate("unet", prepared, output, folds=[1], **SETTINGS) is None

    def stop_in_epoch_2(done: int, total: int, text: str) -> None:
        if text.startswith("fold 0: epoch 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), progress_to(stop_in_epoch_2):
        cross_validate("unet", prepared, output, folds=[0, 2], **SETTINGS)
    assert not (output / "fold2").exists()
    assert cross_validate("unet", prepared, output, resume=True, **SETTINGS) is not None
    return output


def content_of(whole: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((whole / "cross_validation.json").read_text(encoding="utf-8"))
    return content


def test_all_patients_but_the_test_set_are_measured_once(whole: Path, prepared: Path) -> None:
    content, datalist = content_of(whole), read_datalist(prepared)
    outside = {item["patient"] for item in datalist["volumes"] if item["part"] != "test"}
    assert sorted(patient["patient"] for patient in content["patients"]) == sorted(outside)
    assert len(outside) == 3
    assert (content["summary"]["patients"], content["summary"]["volumes"]) == (3, 6)
    assert content["intervals"]["dice"]["mean"] is not None


def test_a_fold_is_measured_on_its_own_patients_by_a_network_of_the_others(
    whole: Path, prepared: Path
) -> None:
    datalist = read_datalist(prepared)
    for fold in folds_of(datalist):
        measured = {case.patient for case in read_cases(whole / f"fold{fold}" / "evaluation/metrics.json")}
        assert measured == {item["patient"] for item in select(datalist, "validation", fold)}
        assert (
            json.loads((whole / f"fold{fold}" / "manifest.json").read_text(encoding="utf-8"))["fold"] == fold
        )


def test_each_volume_has_its_mask_on_its_own_grid(whole: Path, prepared: Path) -> None:
    outside = [item for item in read_datalist(prepared)["volumes"] if item["part"] != "test"]
    assert {path.name for path in (whole / "masks").iterdir()} == {
        Path(item["image"]).name for item in outside
    }
    for item in outside:
        image, mask = (nib.load(path) for path in (item["image"], whole / "masks" / Path(item["image"]).name))
        assert mask.shape == image.shape
        np.testing.assert_allclose(mask.affine, image.affine, atol=1e-5)


def test_page_tells_figures_folds_and_how_they_were_measured(whole: Path, tmp_path: Path) -> None:
    content = content_of(whole)
    text = page_of(tmp_path, whole)
    dice = content["summary"]["dice"]["mean"]
    assert f"| Dice (voxel F1) mean | {dice:.3f} (" in text
    fold = next(line for line in text.splitlines() if line.startswith("| 1 | 1 | "))
    assert f" {content['folds'][1]['dice']['mean']:.3f} |" in fold
    assert "nothing was chosen by the patients that are measured" in text
    assert "`max_epochs=2`" in text


def test_the_mean_over_patients_is_that_of_the_folds_rows(whole: Path) -> None:
    """With one patient and two volumes a fold, the whole is the plain mean of the folds."""
    content = content_of(whole)
    folds = [row["dice"]["lv"] for row in content["folds"]]
    assert content["summary"]["dice"]["lv"] == pytest.approx(sum(folds) / 3)
    mean = sum(folds) / 3
    spread = (sum((value - mean) ** 2 for value in folds) / 2) ** 0.5
    assert content["fold_sd"]["lv"] == pytest.approx(spread)
    assert [row["epochs"] for row in content["folds"]] == [2, 2, 2]


def test_what_is_measured_is_the_average_at_the_end_of_the_run(whole: Path) -> None:
    final = torch.load(whole / "fold2" / "final.pt", weights_only=True)["model"]
    last = torch.load(whole / "fold2" / "last.pt", weights_only=False)["averaged"]
    assert all(torch.equal(value, last[f"module.{key}"]) for key, value in final.items())
    assert (
        json.loads((whole / "fold2/evaluation/manifest.json").read_text(encoding="utf-8"))["weights"]
        == "final.pt"
    )


def test_finished_folds_are_not_done_again(whole: Path, prepared: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in whole.glob("fold*/**/*.json")}
    assert cross_validate("unet", prepared, whole, resume=True, **SETTINGS) is not None
    assert {path: path.stat().st_mtime_ns for path in whole.glob("fold*/**/*.json")} == before


def test_without_resume_a_begun_fold_is_refused(whole: Path, prepared: Path) -> None:
    with pytest.raises(ConfigError, match="expected an empty run folder"):
        cross_validate("unet", prepared, whole, folds=[0], **SETTINGS)


@pytest.mark.parametrize("other", [{"max_epochs": 3}, {"which": "best"}])
def test_folds_that_are_trained_otherwise_are_refused(
    whole: Path, prepared: Path, other: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"settings\.json was begun with"):
        cross_validate("unet", prepared, whole, resume=True, **SETTINGS | other)


def test_a_fold_that_another_process_is_at_is_refused(whole: Path, prepared: Path) -> None:
    with (
        exclusive_lock(whole / "fold0" / "running", "training"),
        pytest.raises(ConfigError, match="expected no other training of fold 0"),
    ):
        cross_validate("unet", prepared, whole, folds=[0], resume=True, **SETTINGS)


def test_what_is_no_fold_is_refused(prepared: Path, cohort: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected folds among \[0, 1, 2\], found \[7\]"):
        cross_validate("unet", prepared, tmp_path, folds=[7])
    with pytest.raises(ConfigError, match="choose folds by --folds"):
        cross_validate("unet", prepared, tmp_path, fold=1)
    with pytest.raises(DataError, match="thorax prepare"):
        cross_validate("unet", cohort, tmp_path)
    with pytest.raises(ConfigError, match="expected folds such as 0,3"):
        parse_folds("0;3")
    assert parse_folds("0,3") == [0, 3]
