"""Tests of what slices and labels leave open: on bodies whose volumes are known."""

import math
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.benchmarks.measures import (
    CONTENT_NAME,
    EXPECTED,
    NAMES,
    PICTURE_NAME,
    calibrate_intervals,
    mask_errors,
    measure_measures,
    sliced_volumes_ml,
    surface_volumes_ml,
)
from pipelines.cli.main import app
from pipelines.core.cardiac import HALF_WIDTH, structure_volumes_ml
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import write_manifest
from pipelines.core.records import AcdcLabel, Phase
from pipelines.core.volume import Volume, write_label
from pipelines.datasets.loading import load_label
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc, section_records
from pipelines.datasets.readers import find_reader
from pipelines.reporting.report import write_result_page


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
    patient = content["values"][0]
    height, weight = (
        float(
            re.search(
                rf"{key}: (\S+)", (tmp_path / "acdc/training" / patient["patient"] / "Info.cfg").read_text()
            )[1]
        )
        for key in ("Height", "Weight")
    )
    assert patient["lv_edv_ml_m2"] == pytest.approx(patient["lv_edv_ml"] / math.sqrt(height * weight / 3600))
    assert (tmp_path / "out" / CONTENT_NAME).is_file()
    assert (tmp_path / "out" / PICTURE_NAME).is_file()
    write_manifest(tmp_path / "out", outputs=[CONTENT_NAME])
    text = write_result_page(tmp_path / "out", tmp_path / "page.md").read_text(encoding="utf-8")
    assert [text.count(f"\n{one}:\n") for one in ("Repeatability coefficient", "Partial volume")] == [1, 1]
    assert "| LV EDV by body surface, mL/m² |" in text
    assert "](page-" in text


def test_without_heights_nothing_is_indexed_and_a_prepared_folder_gives_one_part_without_copies(
    tmp_path: Path,
) -> None:
    write_phantom_cohort(tmp_path / "acdc", patients=10, frames=3, cine=False)
    folders = sorted((tmp_path / "acdc/training").iterdir())
    for folder in folders:
        info = folder / "Info.cfg"
        lines = info.read_text().splitlines()
        info.write_text("\n".join(line for line in lines if not re.match("Height|Weight", line)))
    for one in folders[0].glob("*.nii.gz"):
        shutil.copy(one, folders[1] / one.name.replace(folders[0].name, folders[1].name))
    shutil.copy(folders[0] / "Info.cfg", folders[1] / "Info.cfg")
    prepare_acdc(tmp_path / "acdc", tmp_path / "prepared")
    parts = [section_records(tmp_path / "prepared", part, fold=None) for part in ("training", "test")]
    content = measure_measures(tmp_path, tmp_path / "out", records=parts[0], phantoms=0)
    assert content["patients"] == len(parts[0]) == 9 - len(parts[1])
    assert "lv_edv_ml_m2" not in content["groups"]
    assert content["groups"]["rv_to_lv_edv"]["group"] == "RV"


def test_the_half_width_is_the_conformal_quantile_and_the_coverage_a_share_of_others() -> None:
    # Of 19 errors the 18th largest: ceil(20 * 0.9) = 18. Of 8 errors none is large enough for 90%.
    errors = {"lv_edv_ml": [-float(one) for one in range(1, 20)], "rv_edv_ml": [1.0] * 8}
    found = calibrate_intervals(errors, {"lv_edv_ml": [0.0, 18.0, -18.5]})
    assert (found["lv_edv_ml"]["half_width"], found["lv_edv_ml"]["patients"]) == (18.0, 19)
    assert found["lv_edv_ml"]["coverage"] == pytest.approx(2 / 3)
    assert (found["rv_edv_ml"]["half_width"], found["rv_edv_ml"]["coverage"]) == (None, None)


def test_the_intervals_shipped_are_those_of_the_page() -> None:
    page = Path(__file__).resolve().parents[2] / "docs/results/measures.md"
    rows = re.findall(r"^\| (.*) \| (.*) \| \d+% \|$", page.read_text(encoding="utf-8"), re.MULTILINE)
    assert rows == [(NAMES[name], str(half)) for name, half in HALF_WIDTH.items()]


def test_label_maps_that_lack_a_slice_at_ed_have_its_volume_as_error(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "acdc", patients=2, frames=3, cine=False)
    patients = find_reader("acdc").read(tmp_path / "acdc").patients
    (tmp_path / "masks").mkdir()
    lost = {}
    for volume in patients[0].volumes:
        label = load_label(volume)
        mask = label.array.copy()
        if volume.phase is Phase.ED:
            middle = int(np.flatnonzero((mask == AcdcLabel.LV).any(axis=(0, 1)))[1])
            lost = structure_volumes_ml(mask[:, :, middle : middle + 1], label.spacing_mm)
            mask[:, :, middle] = 0
        write_label(tmp_path / "masks" / volume.image.name, mask.astype(np.uint8), label.affine)
    errors = mask_errors(patients, tmp_path / "masks")
    assert errors["lv_edv_ml"] == pytest.approx([-lost[AcdcLabel.LV]])
    assert errors["lv_esv_ml"] == [0.0]
    assert errors["rv_sv_ml"] == pytest.approx([-lost[AcdcLabel.RV]])
    assert errors["myo_mass_ed_g"] == pytest.approx([-1.05 * lost[AcdcLabel.MYO]])
    with pytest.raises(DataError, match="expected label maps of ED and ES"):
        mask_errors(patients[1:], tmp_path / "masks")


@pytest.mark.parametrize(
    ("option", "needed"),
    [("--unseen-masks", "a prepared folder"), ("--test-masks", "--unseen-masks")],
)
def test_masks_that_would_do_nothing_are_refused(tmp_path: Path, option: str, needed: str) -> None:
    (tmp_path / "readme.txt").write_text("no split")
    words = ["benchmark", "measures", str(tmp_path), "-o", str(tmp_path / "out"), option, str(tmp_path)]
    found = CliRunner().invoke(app, words)
    assert isinstance(found.exception, ConfigError)
    assert f"expected {option} with " in str(found.exception)
    assert needed in str(found.exception)


def test_a_folder_without_labels_is_refused(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "acdc", patients=1, frames=3, cine=False)
    for path in (tmp_path / "acdc").rglob("*_gt.nii.gz"):
        path.unlink()
    with pytest.raises(DataError):
        measure_measures(tmp_path / "acdc", tmp_path / "out", phantoms=2)
