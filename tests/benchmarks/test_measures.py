"""Tests of what slices and labels leave open: on bodies whose volumes are known."""

import math
from pathlib import Path

import numpy as np
import pytest

from pipelines.benchmarks.measures import (
    CONTENT_NAME,
    EXPECTED,
    PICTURE_NAME,
    measure_measures,
    sliced_volumes_ml,
    surface_volumes_ml,
)
from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.reporting.results.measures import document


def body(radius_mm: np.ndarray, dz_mm: float) -> Volume:
    """A round LV of these radii, a slice each, in a wall of 5 mm."""
    x = np.arange(80) - 39.5
    away = np.hypot(x[:, None], x[None])[:, :, None]
    mask = np.where(away < radius_mm, AcdcLabel.LV, np.where(away < radius_mm + 5, AcdcLabel.MYO, 0))
    mask[:, :, radius_mm <= 0] = 0
    return Volume(mask.astype(np.uint8), np.diag([1.0, 1.0, dz_mm, 1.0]), (1.0, 1.0, dz_mm), Path("body"))


def test_between_slices_a_cone_is_nearer_to_its_volume_by_a_surface() -> None:
    # A blunt cone from 25 to 5 mm over 40 mm, ten slices; each end half a slice further.
    dz = 4.0
    radii = 25 - 0.5 * (np.arange(10) * dz + 2)
    exact = math.pi * dz * sum(r * r for r in radii) / 1000
    found = surface_volumes_ml(body(radii, dz))[AcdcLabel.LV]
    # What is missing is the closing within half a slice at both ends.
    ends = math.pi * (radii[0] ** 2 + radii[-1] ** 2) * dz / 2 / 1000
    assert exact - ends < found < exact


def test_a_shift_of_nothing_gives_the_sum_of_the_slices() -> None:
    heart = body(np.array([20.0, 18.0, 12.0]), 8.0)
    found = sliced_volumes_ml(heart, (0.0,))
    for label in (AcdcLabel.LV, AcdcLabel.MYO):
        counted = np.count_nonzero(heart.array == label) * 8 / 1000
        assert found[label][0] == pytest.approx(counted, rel=0.01)
    assert found[AcdcLabel.RV][0] == 0


def test_axes_in_another_order_give_the_same_volumes() -> None:
    heart = body(np.array([20.0, 18.0, 12.0]), 8.0)
    affine = heart.affine[:, [2, 0, 1, 3]]
    turned = Volume(np.moveaxis(heart.array, 2, 0), affine, (8.0, 1.0, 1.0), Path("turned"))
    assert surface_volumes_ml(turned) == pytest.approx(surface_volumes_ml(heart))


def test_a_cohort_has_repeatability_groups_and_a_page(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "acdc", patients=5, frames=3, cine=False)
    content = measure_measures(tmp_path / "acdc", tmp_path / "out", phantoms=2)
    assert content["patients"] == 5
    assert content["labels"]["lv_ef_percent"]["repeatability"] >= 0
    assert content["phantoms"]["lv_edv_ml"]["error_sum"] > 0
    assert content["groups"].keys() == EXPECTED.keys()
    assert content["groups"]["lv_edv_ml"]["auc"] in (0.0, 0.25, 0.5, 0.75, 1.0)
    assert (tmp_path / "out" / CONTENT_NAME).is_file()
    page = document(content, tmp_path / "out")
    assert [len(section.tables) for section in page.sections] == [1, 1, 1]
    assert page.sections[2].pictures[0].path == tmp_path / "out" / PICTURE_NAME


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "acdc", patients=1, frames=3, cine=False)
    for path in (tmp_path / "acdc").rglob("*_gt.nii.gz"):
        path.unlink()
    with pytest.raises(DataError):
        measure_measures(tmp_path / "acdc", tmp_path / "out", phantoms=2)
