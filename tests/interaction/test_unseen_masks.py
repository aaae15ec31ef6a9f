"""Masks by networks that have not seen the patients, and what becomes of them in training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.volume import check_same_grid, read_label, read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.interaction.unseen_masks import mask_path, with_unseen_masks, write_unseen_masks

SMALL: dict[str, Any] = {"precision": "fp32", "max_epochs": 1, "patch_px": [32, 32]}


def items(*names: str) -> list[dict[str, Any]]:
    return [{"image": f"data/{name}.nii.gz", "fingerprint": "1"} for name in names]


def test_without_a_folder_items_stay_as_they_are() -> None:
    assert with_unseen_masks(items("a"), None) == items("a")


def test_items_get_their_mask_and_a_fingerprint_that_tells_of_it(tmp_path: Path) -> None:
    path = mask_path(tmp_path, "data/a.nii.gz")
    path.write_bytes(b"one")
    (first,) = with_unseen_masks(items("a"), tmp_path)
    path.write_bytes(b"two")
    (second,) = with_unseen_masks(items("a"), tmp_path)
    assert first["mask"] == second["mask"] == str(tmp_path / "a.nii.gz")
    assert len({first["fingerprint"], second["fingerprint"], "1"}) == 3


def test_a_mask_that_is_missing_is_named(tmp_path: Path) -> None:
    mask_path(tmp_path, "a.nii.gz").touch()
    with pytest.raises(DataError, match=r"b\.nii\.gz.*unseen-masks"):
        with_unseen_masks(items("a", "b"), tmp_path)


@pytest.mark.slow
def test_each_half_is_segmented_by_the_network_trained_on_the_other(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "data", patients=5, frames=3, cine=False)
    prepare_acdc(tmp_path / "data", tmp_path / "acdc")
    training = select(read_datalist(tmp_path / "acdc"), "training", 0)
    masks = tmp_path / "masks"
    settings = SMALL | {"cache_dir": str(tmp_path / "cache")}
    written = write_unseen_masks("unet", tmp_path / "acdc", masks, overlays=["smoke"], **settings)
    assert {path.name for path in written} == {Path(item["image"]).name for item in training}
    segmented = []
    for number in range(2):
        run = read_datalist(masks / f"run_{number}")
        known = {item["patient"] for item in select(run, "training", 0)}
        segmented.append({item["patient"] for item in select(run, "validation", 0)})
        assert segmented[-1] == {item["patient"] for item in training} - known
    assert not segmented[0] & segmented[1]
    first = [read_label(path).array for path in written]
    for item in with_unseen_masks(training, masks):
        check_same_grid(read_volume(Path(item["image"])), read_label(Path(item["mask"])))
    for path in (*written, masks / "run_1" / "best.pt", masks / "run_1" / "last.pt"):
        path.unlink()
    with pytest.raises(ConfigError, match="expected an empty run folder"):
        write_unseen_masks("unet", tmp_path / "acdc", masks, overlays=["smoke"], **settings)
    again = write_unseen_masks("unet", tmp_path / "acdc", masks, overlays=["smoke"], resume=True, **settings)
    assert again == written
    assert all(np.array_equal(read_label(path).array, old) for path, old in zip(again, first, strict=True))


def test_a_single_patient_cannot_be_halved(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "data", patients=3, frames=3, cine=False)
    prepare_acdc(tmp_path / "data", tmp_path / "acdc")
    with pytest.raises(DataError, match="at least 2 patients"):
        write_unseen_masks("unet", tmp_path / "acdc", tmp_path / "masks")
