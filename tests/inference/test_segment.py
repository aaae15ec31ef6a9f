"""Tests of segmentation runs with a predictor that reads labels from intensities."""

import gzip
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from intensity_hearts import (
    AFFINE,
    SHAPE,
    VOXEL_ML,
    FakePrediction,
    IntensityPredictor,
    acdc_patient,
    heart,
    lv_ml,
    rows,
    save,
)

from pipelines.core.cardiac import PatientFacts, Sex
from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.plausibility import HEART_FRAME
from pipelines.core.progress import progress_to
from pipelines.core.records import MYOCARDIAL_DENSITY_G_PER_ML
from pipelines.core.volume import Volume
from pipelines.inference.segment import StudyOptions, segment


def test_cine_gives_indices_at_the_extremes_of_the_lv_curve(tmp_path: Path) -> None:
    cine = np.stack([heart(radius) for radius in (6, 8, 6, 5, 6)], axis=3)
    output = tmp_path / "out"
    predictor = IntensityPredictor()
    report = segment([save(tmp_path / "anna.nii.gz", cine)], output, predictor)
    (row,) = rows(output / "indices.csv")
    assert (row["patient"], row["frame_ed"], row["frame_es"]) == ("anna", "2", "4")
    assert float(row["lv_edv_ml"]) == pytest.approx(lv_ml(8), abs=0.01)
    assert float(row["lv_esv_ml"]) == pytest.approx(lv_ml(5), abs=0.01)
    assert float(row["lv_sv_ml"]) == pytest.approx(lv_ml(8) - lv_ml(5), abs=0.01)
    assert float(row["lv_ef_percent"]) == pytest.approx(100 * (1 - 25 / 64), abs=0.01)
    assert float(row["rv_edv_ml"]) == pytest.approx(8 * 12 * 4 * VOXEL_ML, abs=0.01)
    myo_ml = (20**2 - 16**2) * 4 * VOXEL_ML
    assert float(row["myo_mass_ed_g"]) == pytest.approx(myo_ml * MYOCARDIAL_DENSITY_G_PER_ML, abs=0.01)
    assert row["reason"] == ""
    assert predictor.shapes == [SHAPE] * 5
    assert [path.name for path in report.results[0].files] == [
        "anna_seg.nii.gz",
        "anna_curve.png",
        "anna_ED_overlay.png",
        "anna_ES_overlay.png",
    ]
    assert all(path.stat().st_size > 0 for path in report.results[0].files)


def test_label_map_of_a_cine_lies_on_the_images_own_grid(tmp_path: Path) -> None:
    cine = np.stack([heart(radius) for radius in (8, 5)], axis=3)
    segment([save(tmp_path / "anna.nii.gz", cine)], tmp_path / "out", IntensityPredictor())
    label = nib.load(tmp_path / "out" / "anna_seg.nii.gz")
    assert label.get_data_dtype() == np.uint8
    np.testing.assert_array_equal(label.affine, AFFINE)
    np.testing.assert_array_equal(np.asarray(label.dataobj), np.round(cine / 100))


def test_file_with_slices_on_another_axis_keeps_its_axes(tmp_path: Path) -> None:
    image = np.moveaxis(heart(8), 2, 0)
    affine = AFFINE[:, [2, 0, 1, 3]]
    report = segment([save(tmp_path / "anna.nii", image, affine)], tmp_path / "out", IntensityPredictor())
    label = nib.load(tmp_path / "out" / "anna_seg.nii.gz")
    np.testing.assert_array_equal(np.asarray(label.dataobj), np.round(image / 100))
    np.testing.assert_array_equal(label.affine, affine)
    assert report.results[0].warnings == []


def test_frames_of_known_phase_are_measured_together(tmp_path: Path) -> None:
    acdc_patient(tmp_path / "in" / "patient003")
    report = segment([tmp_path / "in"], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert (row["patient"], row["frame_ed"], row["frame_es"], row["reason"]) == ("patient003", "1", "9", "")
    assert float(row["lv_ef_percent"]) == pytest.approx(100 * (1 - 25 / 64), abs=0.01)
    assert {path.name for path in report.results[0].files} == {
        f"patient003_frame{frame}_{kind}" for frame in ("01", "09") for kind in ("seg.nii.gz", "overlay.png")
    }


def test_volume_of_unknown_phase_has_volumes_and_a_reason_but_no_ef(tmp_path: Path) -> None:
    segment([save(tmp_path / "anna.nii.gz", heart(8))], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert float(row["lv_ml_unknown_phase"]) == pytest.approx(lv_ml(8), abs=0.01)
    assert row["lv_ef_percent"] == row["lv_edv_ml"] == row["frame_ed"] == ""
    assert "unknown phase" in row["reason"]


def test_one_bad_phase_leaves_the_other_with_a_reason(tmp_path: Path) -> None:
    folder = acdc_patient(tmp_path / "in" / "patient003")
    (folder / "patient003_frame09.nii.gz").write_bytes(b"")
    report = segment([folder], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert float(row["lv_edv_ml"]) == pytest.approx(lv_ml(8), abs=0.01)
    assert row["lv_ef_percent"] == ""
    assert row["reason"] == "no ES label map"
    assert [problem.path.name for problem in report.problems] == ["patient003_frame09.nii.gz"]


def test_cine_without_lv_gets_a_label_map_and_a_reason(tmp_path: Path) -> None:
    cine = np.stack([heart(8), heart(5)], axis=3) / 10
    report = segment([save(tmp_path / "anna.nii.gz", cine)], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert row["lv_ef_percent"] == ""
    assert "LV in at least 2 frames" in row["reason"]
    assert row["warnings"] == "no heart found: the label map is empty"
    assert [path.name for path in report.results[0].files] == ["anna_seg.nii.gz", "anna_overlay.png"]


def test_warnings_name_their_phase(tmp_path: Path) -> None:
    ed = heart(8)
    ed[:, :, 3] = 0
    cine = np.stack([ed, heart(5), heart(4)], axis=3)
    segment([save(tmp_path / "anna.nii.gz", cine)], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert "ED: LV is missing in slice 4" in row["warnings"]
    assert "ES: " not in row["warnings"]


def test_bad_files_are_listed_and_the_rest_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    good = save(folder / "good.nii.gz", heart(8))
    (folder / "cut.nii.gz").write_bytes(good.read_bytes()[:2000])
    (folder / "zero.nii.gz").write_bytes(b"")
    (folder / "text.nii.gz").write_bytes(gzip.compress(b"no image"))
    save(folder / "nan.nii.gz", np.full(SHAPE, np.nan, np.float32))
    save(folder / "flat.nii.gz", np.ones(SHAPE, np.float32))
    save(folder / "five.nii.gz", np.ones((4, 4, 3, 2, 2), np.float32))
    report = segment([folder], tmp_path / "out", IntensityPredictor())
    assert [result.study for result in report.results] == ["good"]
    listed = rows(tmp_path / "out" / "problems.csv")
    assert {Path(row["path"]).name.split(".")[0] for row in listed} == {
        "cut",
        "zero",
        "text",
        "nan",
        "flat",
        "five",
    }
    assert all(row["reason"] for row in listed)
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "indices.csv",
        "problems.csv",
        "good_seg.nii.gz",
        "good_overlay.png",
    }


def test_fault_that_nobody_foresaw_costs_one_study_only(tmp_path: Path) -> None:
    class Fails(IntensityPredictor):
        def predict(self, volume: Volume) -> FakePrediction:
            if volume.path is not None and volume.path.name == "a.nii.gz":
                raise RuntimeError("boom")
            return super().predict(volume)

    for name in "ab":
        save(tmp_path / "in" / f"{name}.nii.gz", heart(8))
    report = segment([tmp_path / "in"], tmp_path / "out", Fails())
    assert [result.study for result in report.results] == ["b"]
    assert [problem.reason for problem in report.problems] == ["unexpected RuntimeError: boom"]


def test_run_without_any_success_is_an_error_that_gives_the_reason(tmp_path: Path) -> None:
    (tmp_path / "zero.nii.gz").touch()
    with pytest.raises(DataError, match="zero bytes"):
        segment([tmp_path / "zero.nii.gz"], tmp_path / "out", IntensityPredictor())
    assert len(rows(tmp_path / "out" / "problems.csv")) == 1


def test_folder_without_images_is_an_error_before_anything_is_written(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="found none in"):
        segment([tmp_path / "in"], tmp_path / "out", IntensityPredictor())
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("slices", [1, 3, 40])
def test_few_and_many_slices_are_segmented(tmp_path: Path, slices: int) -> None:
    image = np.repeat(heart(8)[:, :, 2:3], slices, axis=2)
    segment([save(tmp_path / "anna.nii.gz", image)], tmp_path / "out", IntensityPredictor())
    assert nib.load(tmp_path / "out" / "anna_seg.nii.gz").shape == (40, 36, slices)


def test_interrupted_run_keeps_whole_results_and_no_halves(tmp_path: Path) -> None:
    class Interrupted(IntensityPredictor):
        def predict(self, volume: Volume) -> FakePrediction:
            if len(self.shapes) == 3:
                raise KeyboardInterrupt
            return super().predict(volume)

    save(tmp_path / "in" / "a.nii.gz", heart(8))
    save(tmp_path / "in" / "b.nii.gz", np.stack([heart(8)] * 4, axis=3))
    with pytest.raises(KeyboardInterrupt):
        segment([tmp_path / "in"], tmp_path / "out", Interrupted())
    assert [row["study"] for row in rows(tmp_path / "out" / "indices.csv")] == ["a"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "indices.csv",
        "problems.csv",
        "a_seg.nii.gz",
        "a_overlay.png",
    }


def test_full_disk_stops_the_run_and_leaves_no_half_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(image: nib.Nifti1Image, path: Path) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    path = save(tmp_path / "anna.nii.gz", heart(8))
    monkeypatch.setattr(nib, "save", fail)
    with pytest.raises(OutputError, match="No space left"):
        segment([path], tmp_path / "out", IntensityPredictor())
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"indices.csv", "problems.csv"}


def test_read_only_output_folder_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> None:
        raise PermissionError(13, "Permission denied")

    # Rights alone do not stop the superuser, so the refusal is simulated.
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    with pytest.raises(OutputError, match="can be written"):
        segment([save(tmp_path / "anna.nii.gz", heart(8))], tmp_path / "out", IntensityPredictor())


def test_file_in_place_of_the_output_folder_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file", encoding="utf-8")
    with pytest.raises(OutputError, match="output folder"):
        segment([save(tmp_path / "anna.nii.gz", heart(8))], tmp_path / "out", IntensityPredictor())


def test_second_run_into_its_own_input_folder_finds_the_same_studies(tmp_path: Path) -> None:
    save(tmp_path / "anna.nii.gz", heart(8))
    for _ in range(2):
        report = segment([tmp_path], tmp_path, IntensityPredictor())
        assert [result.study for result in report.results] == ["anna"]


def test_progress_counts_studies_and_names_the_frame_in_hand(tmp_path: Path) -> None:
    save(tmp_path / "in" / "a.nii.gz", heart(8))
    save(tmp_path / "in" / "b.nii.gz", np.stack([heart(8), heart(5)], axis=3))
    seen: list[tuple[int, int, str]] = []
    with progress_to(lambda *step: seen.append(step)):
        segment([tmp_path / "in"], tmp_path / "out", IntensityPredictor())
    assert seen == [
        (0, 2, "a"),
        (1, 2, "a"),
        (1, 2, "b"),
        (1, 2, "b frame 1 of 2"),
        (1, 2, "b frame 2 of 2"),
        (2, 2, "b"),
    ]


def test_what_is_doubtful_about_a_file_reaches_its_row_with_its_path(tmp_path: Path) -> None:
    path = save(tmp_path / "anna.nii.gz", heart(8))
    image = nib.load(path)
    image.set_sform(None, 0)
    image.set_qform(None, 0)
    nib.save(image, path)
    save(tmp_path / "anna_gt.nii.gz", np.round(heart(8) / 100))
    segment([tmp_path], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert "no sform, no qform" in row["warnings"]
    assert row["path"] == str(path)
    (listed,) = rows(tmp_path / "out" / "problems.csv")
    assert listed["path"].endswith("anna_gt.nii.gz")
    assert "passed over: a label map" in listed["reason"]


def test_an_image_too_small_for_a_heart_is_refused_before_it_is_segmented(tmp_path: Path) -> None:
    cine = np.random.default_rng(0).random((6, 40, 9, 20)).astype(np.float32)
    predictor = IntensityPredictor()
    with pytest.raises(DataError, match="expected slices at least 50 mm wide"):
        segment([save(tmp_path / "anna.nii.gz", cine)], tmp_path / "out", predictor)
    assert predictor.shapes == []


def test_height_and_weight_of_info_cfg_index_the_volumes(tmp_path: Path) -> None:
    folder = acdc_patient(tmp_path / "in" / "patient003")
    with (folder / "Info.cfg").open("a", encoding="utf-8") as stream:
        stream.write("Height: 180.0\nWeight: 80.0\n")
    segment([folder], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert float(row["body_surface_m2"]) == 2.0
    assert float(row["lv_edv_ml_m2"]) == pytest.approx(lv_ml(8) / 2, abs=0.01)
    assert row["lv_output_l_min"] == row["outside_normal"] == ""
    assert row["normal_reason"] == "no normal range: sex and age not known"


def test_options_count_before_the_file_and_mark_what_is_outside(tmp_path: Path) -> None:
    folder = acdc_patient(tmp_path / "in" / "patient003")
    facts = PatientFacts(height_cm=180, weight_kg=80, sex=Sex.MALE, age_years=60, heart_rate_bpm=50)
    segment([folder], tmp_path / "out", IntensityPredictor(), options=StudyOptions(facts))
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert float(row["lv_output_l_min"]) == pytest.approx((lv_ml(8) - lv_ml(5)) * 50 / 1000, abs=0.01)
    assert row["heart_rate_source"] == "option"
    assert row["normal_reason"] == ""
    assert f"lv_edv_ml (z {(lv_ml(8) - 166) / 32:+.1f})" in row["outside_normal"]
    assert "lv_ef_percent" not in row["outside_normal"]


def test_facts_of_one_patient_are_not_taken_for_two(tmp_path: Path) -> None:
    for name in ("patient003", "patient004"):
        acdc_patient(tmp_path / "in" / name)
    with pytest.raises(ConfigError, match="expected one study where height"):
        segment(
            [tmp_path / "in"],
            tmp_path / "out",
            IntensityPredictor(),
            options=StudyOptions(PatientFacts(height_cm=170)),
        )


def test_an_impossible_height_is_left_out_with_a_warning(tmp_path: Path) -> None:
    folder = acdc_patient(tmp_path / "in" / "patient003")
    with (folder / "Info.cfg").open("a", encoding="utf-8") as stream:
        stream.write("Height: 1.8\nWeight: 80.0\n")
    segment([folder], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert row["body_surface_m2"] == ""
    assert "expected height_cm of 30 to 250, found 1.8" in row["warnings"]


def test_a_cine_with_a_true_time_between_frames_has_rates_and_a_heart_rate(tmp_path: Path) -> None:
    cine = np.stack([heart(radius) for radius in (8, 8, 7, 6, 5, 5, 6, 7, 7, 7, 8, 8)], axis=3)
    for name, frame_s in (("timed", 0.075), ("untimed", 1.0)):
        image = nib.Nifti1Image(cine, AFFINE)
        image.header.set_xyzt_units("mm", "sec")
        image.header.set_zooms((*image.header.get_zooms()[:3], frame_s))
        nib.save(image, tmp_path / f"{name}.nii.gz")
    segment(sorted(tmp_path.glob("*.nii.gz")), tmp_path / "out", IntensityPredictor())
    timed, untimed = rows(tmp_path / "out" / "indices.csv")
    assert float(timed["heart_rate_bpm"]) == pytest.approx(60 / 0.9, abs=0.01)
    assert timed["heart_rate_source"] == "cine's length, taken as one beat"
    assert float(timed["lv_peak_ejection_ml_s"]) > 100
    assert untimed["heart_rate_bpm"] == untimed["heart_rate_source"] == untimed["lv_peak_ejection_ml_s"] == ""


def test_the_wall_stands_in_the_row_by_segment(tmp_path: Path) -> None:
    ed, es = np.zeros((2, 60, 60, 6), np.float32)
    for image, inner, outer in ((ed, 12, 16), (es, 8, 15)):
        x, y = np.ogrid[:60, :60]
        radius = np.hypot(x - 34.5, y - 29.5)
        beside = (radius < outer + 7) & (x < 26) & (abs(y - 29.5) < 14)
        image[:] = np.select([radius < inner, radius < outer, beside], [300, 200, 100])[..., None]
    upright = np.diag([-2.0, -2.0, 10.0, 1.0])
    for frame, image in (("01", ed), ("09", es)):
        noise = np.random.default_rng(0).uniform(-20, 20, image.shape).astype(np.float32)
        save(tmp_path / "patient003" / f"patient003_frame{frame}.nii.gz", image + noise, upright)
    (tmp_path / "patient003" / "Info.cfg").write_text("ED: 1\nES: 9\n", encoding="utf-8")
    segment([tmp_path / "patient003"], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert row["wall_reason"] == ""
    for number in range(1, 17):
        assert float(row[f"wall_ed_mm_{number:02d}"]) == pytest.approx(8.0, abs=0.6)
        assert float(row[f"wall_es_mm_{number:02d}"]) == pytest.approx(14.0, abs=0.6)
        assert float(row[f"wall_motion_mm_{number:02d}"]) == pytest.approx(8.0, abs=0.6)
    assert float(row["strain_endo_percent"]) == pytest.approx(100 * (8 / 12 - 1), abs=1.5)


LONG_AXIS = np.diag([2.0, 2.0, 10.0, 1.0])
LONG_AXIS[:3, :3] = HEART_FRAME[:, [0, 2, 1]] * (2.0, 2.0, 10.0)


@pytest.mark.parametrize(
    ("shift", "affine", "warning"),
    [
        pytest.param(0, LONG_AXIS, "this may be no short-axis stack", id="long axis"),
        pytest.param(144, np.diag([-2.0, -2, 10, 1]), "edge of the central 288 mm", id="beyond the field"),
        pytest.param(0, np.diag([-20.0, -20, 40, 1]), "more than any scanner sees", id="wide voxels"),
    ],
)
def test_an_image_that_networks_do_not_know_has_a_warning_in_its_row(
    tmp_path: Path, shift: int, affine: np.ndarray, warning: str
) -> None:
    image = np.concatenate([np.tile(heart(8)[:2], (shift // 2, 1, 1)), heart(8)])
    segment([save(tmp_path / "anna.nii", image, affine)], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert warning in row["warnings"]


def test_a_heart_that_is_not_found_beyond_the_field_has_a_warning_in_its_row(tmp_path: Path) -> None:
    class Blind:
        def predict(self, volume: Volume) -> FakePrediction:
            return FakePrediction(np.zeros(volume.array.shape, np.uint8))

    image = np.concatenate([np.tile(heart(8)[:2], (60, 1, 1)), heart(8)])
    segment([save(tmp_path / "anna.nii", image)], tmp_path / "out", Blind())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert "no heart found in the central 288 mm of 320 x 72 mm" in row["warnings"]
