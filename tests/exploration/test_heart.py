from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_hearts import AFFINE, GREY, heart_image, heart_label, save, write_heart

from pipelines.core.errors import DataError
from pipelines.core.records import UNLABELLED, AcdcLabel
from pipelines.core.volume import Volume
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.exploration.findings import find_outliers, section_shifts, survey_findings
from pipelines.exploration.heart import (
    HeartSurvey,
    check_label,
    file_orientation,
    measure_image,
    measure_label,
    noise_sd,
    survey_hearts,
    tissue_mask,
)


def volume(array: np.ndarray, affine: np.ndarray | None = None) -> Volume:
    affine = np.diag([2.0, 1.0, 10.0, 1.0]) if affine is None else affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(array.astype(np.float32), affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """A bright half of mean 400 and a dark one of mean 20, with white noise of SD 5."""
    array = np.full((80, 60, 5), 20.0)
    array[40:] = 400.0
    return array + np.random.default_rng(0).normal(0, 5, array.shape)


def test_noise_and_snr_are_those_that_were_put_in(noisy: np.ndarray) -> None:
    measures = measure_image(volume(noisy), "RAS")
    assert measures.noise_sd == pytest.approx(5.0, rel=0.05)
    assert measures.snr_image == pytest.approx(80.0, rel=0.05)


def test_noise_does_not_see_edges_between_tissues(noisy: np.ndarray) -> None:
    stripes = noisy.copy()
    stripes[40:, ::16] += 300.0
    assert noise_sd(stripes, np.ones(stripes.shape, bool)) == pytest.approx(5.0, rel=0.15)


def test_noise_of_a_flat_or_tiny_image_cannot_be_measured() -> None:
    assert noise_sd(np.ones((40, 40, 2)), np.ones((40, 40, 2), bool)) is None
    assert noise_sd(np.random.default_rng(0).random((4, 4, 1)), np.ones((4, 4, 1), bool)) is None


def test_tissue_is_the_bright_part_and_muscle_belongs_to_it(noisy: np.ndarray) -> None:
    muscle = noisy.copy()
    muscle[50:60] = 150.0
    assert tissue_mask(muscle)[40:].mean() > 0.99
    assert tissue_mask(muscle)[:40].mean() < 0.01


def test_grid_and_field_of_view_follow_from_shape_and_spacing(noisy: np.ndarray) -> None:
    measures = measure_image(volume(noisy), "RAS")
    assert (measures.columns_px, measures.rows_px, measures.slices) == (80, 60, 5)
    assert (measures.field_x_mm, measures.field_y_mm, measures.coverage_mm) == (160.0, 60.0, 50.0)


def test_clipped_voxels_are_counted() -> None:
    array = np.arange(1000.0).reshape(10, 10, 10)
    assert measure_image(volume(array), "RAS").clipped_share == pytest.approx(0.001)
    assert measure_image(volume(np.minimum(array, 899)), "RAS").clipped_share == pytest.approx(0.101)


def test_a_header_with_the_spacing_alone_has_no_position(noisy: np.ndarray) -> None:
    assert not measure_image(volume(noisy), "RAS").has_position
    placed = np.diag([2.0, 1.0, 10.0, 1.0])
    placed[0, 3] = -90.0
    assert measure_image(volume(noisy, placed), "RAS").has_position
    turn = np.deg2rad(30)
    turned = np.diag([2.0, 1.0, 10.0, 1.0])
    turned[:2, :2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ turned[:2, :2]
    measures = measure_image(volume(noisy, turned), "RAS")
    assert measures.is_oblique
    assert measures.has_position


def test_orientation_is_where_the_axes_of_the_file_point() -> None:
    assert file_orientation(volume(np.zeros((2, 2, 2)), np.diag([-1.0, -1.0, 8.0, 1.0]))) == "LPS"


SPACING = (2.0, 2.0, 10.0)


def test_volumes_and_voxels_are_those_of_the_label() -> None:
    label = heart_label()
    measures = measure_label(heart_image(label, 0), label, SPACING, 5.0)
    lv = int((label == AcdcLabel.LV).sum())
    assert measures.voxels[AcdcLabel.LV] == lv
    assert measures.volume_ml[AcdcLabel.LV] == pytest.approx(lv * 0.04)
    assert sum(measures.voxels.values()) == label.size


def test_snr_and_cnr_are_contrasts_over_the_noise() -> None:
    label = heart_label()
    measures = measure_label(heart_image(label, 0), label, SPACING, 5.0)
    assert measures.snr_blood == pytest.approx(GREY[AcdcLabel.LV] / 5, rel=0.02)
    assert measures.cnr == pytest.approx((GREY[AcdcLabel.LV] - GREY[AcdcLabel.MYO]) / 5, rel=0.02)
    assert measures.snr_pool == pytest.approx(GREY[AcdcLabel.LV] / 5, rel=0.1)


def test_what_cannot_be_known_is_none() -> None:
    empty = np.zeros((48, 40, 4), np.uint8)
    measures = measure_label(heart_image(empty, 0), empty, SPACING, 5.0)
    assert (measures.snr_blood, measures.snr_pool, measures.cnr) == (None, None, None)
    label = heart_label()
    assert measure_label(heart_image(label, 0), label, SPACING, None).cnr is None


def test_a_sound_label_has_no_finding() -> None:
    assert check_label(heart_label(), SPACING) == []


def test_holes_are_found_in_their_slices() -> None:
    label = heart_label()
    label[28, 20, 1] = 0
    label[28, 19:21, 3] = 0
    label[9, 20, 2] = 0
    assert check_label(label, SPACING) == [
        "LV and myocardium enclose background (3 px) in slices 2, 4",
        "RV encloses background (1 px) in slice 3",
    ]


def test_small_islands_are_found_and_large_ones_only_once() -> None:
    label = heart_label()
    label[44:46, 36, 0] = AcdcLabel.LV
    assert check_label(label, SPACING) == ["LV has small islands (2 voxels in 1)"]
    label[42:47, 34:38, 0] = AcdcLabel.LV
    assert [text for text in check_label(label, SPACING) if "LV" in text and "islands" in text] == []
    assert "LV is in 2 separate pieces" in check_label(label, SPACING)


def test_what_plausibility_says_of_masks_is_reported_of_labels() -> None:
    label = heart_label()
    label[label == AcdcLabel.RV] = 0
    assert "RV is empty" in check_label(label, SPACING)
    assert check_label(label, SPACING, structures=(AcdcLabel.MYO, AcdcLabel.LV)) == []


def test_voxels_that_nobody_labelled_count_as_background() -> None:
    label = heart_label()
    marked = label.copy()
    marked[:4] = UNLABELLED
    assert measure_label(heart_image(label, 0), marked, SPACING, 5.0).findings == []


def found_in(survey: HeartSurvey) -> str:
    """The findings of a survey, one a line."""
    frame = survey.frame()
    findings = survey_findings(survey, frame, find_outliers(frame), section_shifts(frame))
    return "\n".join(f"{finding.urgency}: {finding.found}" for finding in findings)


def survey_of(root: Path, **sections: str) -> HeartSurvey:
    return survey_hearts(read_acdc(root), sections=sections)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> HeartSurvey:
    root = tmp_path_factory.mktemp("sound")
    for number in range(1, 5):
        write_heart(root, number, "NOR" if number % 2 else "DCM")
    return survey_of(root)


def test_every_volume_is_a_row_with_its_measures(sound: HeartSurvey) -> None:
    frame = sound.frame()
    assert len(frame) == 8
    first = frame.iloc[0]
    assert (first.patient, first.group, first.phase, first.label) == ("patient001", "NOR", "ED", "read")
    assert (first.columns_px, first.rows_px, first.slices, first.frames) == (48, 40, 4, 12)
    assert first.lv_ml == pytest.approx(np.count_nonzero(heart_label() == 3) * 0.04)
    assert first.noise_sd == pytest.approx(5.0, rel=0.15)
    assert first.orientation == "LPS"


def test_what_is_sound_is_not_reported_as_a_fault(sound: HeartSurvey) -> None:
    assert sound.problems == []
    assert sound.odd_patients == []
    assert (sound.copies, sound.near) == ([], [])
    found = found_in(sound)
    for word in (
        "before training",
        "orientation",
        "Groups differ",
        "clipped",
        "Labels of",
        "outliers",
        "scale",
    ):
        assert word not in found


def test_one_broken_patient_does_not_stop_the_rest(tmp_path: Path) -> None:
    write_heart(tmp_path, 1)
    broken = write_heart(tmp_path, 2) / "patient002_frame01.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-200])
    survey = survey_of(tmp_path)
    assert [volume.name for volume in survey.volumes] == ["patient001 ED", "patient001 ES", "patient002 ES"]
    assert [problem.patient for problem in survey.problems] == ["patient002"]
    assert "before training: 1 volume or patient would be skipped: patient002." in found_in(survey)


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    for image in write_heart(tmp_path, 1).glob("*frame??.nii.gz"):
        save(image, np.zeros((4, 4, 2), np.int16))
    with pytest.raises(DataError, match="expected an image that can be read, found none"):
        survey_of(tmp_path)


def test_labels_of_the_test_section_are_never_opened(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_heart(tmp_path, number)
    for label in (tmp_path / "patient003").glob("*_gt.nii.gz"):
        label.write_bytes(b"not to be opened")
    survey = survey_of(tmp_path, patient001="training", patient002="validation", patient003="test")
    assert survey.problems == []
    frame = survey.frame()
    assert frame.label.tolist() == ["read"] * 4 + ["held out"] * 2
    assert frame[frame.section == "test"].lv_ml.isna().all()
    assert frame[frame.section == "test"].snr_image.notna().all()


def test_patients_of_no_section_are_named(tmp_path: Path) -> None:
    write_heart(tmp_path, 1)
    write_heart(tmp_path, 2)
    found = found_in(survey_of(tmp_path, patient001="training"))
    assert "1 patient of the folder in no split of the datalist: patient002." in found


def test_ed_smaller_than_es_needs_a_decision(tmp_path: Path) -> None:
    write_heart(tmp_path, 1)
    write_heart(tmp_path, 2, es_px=10.0)
    survey = survey_of(tmp_path)
    assert {patient for patient, _ in survey.odd_patients} == {"patient002"}
    assert "found 30.9 mL and 48.8 mL" in survey.problems[0].reason
    assert "ED and ES are implausible in 1 patient: patient002: LV EF of -" in found_in(survey)


def test_missing_and_unusable_labels_are_distinguished(tmp_path: Path) -> None:
    (write_heart(tmp_path, 1) / "patient001_frame01_gt.nii.gz").unlink()
    save(tmp_path / "patient001" / "patient001_frame03_gt.nii.gz", heart_label()[:, :, :3])
    survey = survey_of(tmp_path)
    assert survey.frame().label.tolist() == ["missing", "unusable"]
    assert "1 of 2 volumes have no label: patient001." in found_in(survey)
    assert len(survey.problems) == 2


def test_labels_on_another_grid_or_empty_do_not_stop_it(tmp_path: Path) -> None:
    folder = write_heart(tmp_path, 1)
    save(folder / "patient001_frame01_gt.nii.gz", np.zeros((48, 40, 4), np.uint8))
    survey = survey_of(tmp_path)
    assert "no heart found: the label map is empty" in survey.frame().label_findings[0]
    assert survey.frame().lv_ml[0] == 0.0


def test_the_same_image_in_two_patients_is_found_and_reported_to_cross_the_split(tmp_path: Path) -> None:
    one, two = write_heart(tmp_path, 1), write_heart(tmp_path, 2)
    image = nib.load(one / "patient001_frame01.nii.gz")
    save(two / "patient002_frame01.nii.gz", np.asarray(image.dataobj) * 2, AFFINE)
    nearly = np.asarray(nib.load(one / "patient001_frame03.nii.gz").dataobj).copy()
    nearly[:2, :2] += 3
    save(two / "patient002_frame03.nii.gz", nearly, AFFINE)
    survey = survey_of(tmp_path, patient001="training", patient002="test")
    names = [volume.name for volume in survey.volumes]
    assert [(names[i], names[j]) for i, j in survey.copies] == [("patient001 ED", "patient002 ED")]
    assert ("patient001 ES", "patient002 ES") in [(names[i], names[j]) for i, j in survey.near]
    assert "patient001 ED and patient002 ED. Pairs that cross the split: 1." in found_in(survey)
    assert "cross" not in found_in(survey_of(tmp_path, patient001="training"))  # the copy is in no section


def test_one_image_for_both_phases_is_found(tmp_path: Path) -> None:
    folder = write_heart(tmp_path, 1)
    (folder / "patient001_frame03.nii.gz").write_bytes((folder / "patient001_frame01.nii.gz").read_bytes())
    assert "1 pair of volumes of one patient are the same image" in found_in(survey_of(tmp_path))


def test_differences_of_acquisition_are_choices_of_method(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_heart(tmp_path, number, gain=(1.0, 1.0, 5.0)[number - 1])
    other = np.diag([3.0, 2.0, 5.0, 1.0])
    wide = tmp_path / "patient002"
    for path in wide.glob("*.nii.gz"):
        save(path, np.asarray(nib.load(path).dataobj), other)
    clipped = tmp_path / "patient001" / "patient001_frame01.nii.gz"
    save(clipped, np.minimum(np.asarray(nib.load(clipped).dataobj), 150))
    found = found_in(survey_of(tmp_path))
    for text in (
        "Mixed orientation: the axes of the files point in 2 ways (LPS 4, RAS 2).",
        "2 of 6 files hold no place or turn in the scanner",
        "Pixel spacing from 2.00 to 3.00 mm",
        "2 volumes with pixels that are not square: patient002 ED, patient002 ES.",
        "Slices 5.0 to 10.0 mm apart",
        "1 of 6 images are clipped",
        "Intensities are on no common scale",
        "All patients are of one group (NOR 3).",
    ):
        assert text in found


def test_groups_of_different_size_and_odd_labels_are_reported(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_heart(tmp_path, number, "DCM" if number == 3 else "NOR")
    label = heart_label()
    label[28, 20, 1] = 0
    save(tmp_path / "patient001" / "patient001_frame01_gt.nii.gz", label)
    found = found_in(survey_of(tmp_path))
    assert "Groups differ in size: DCM 1, NOR 2 patients." in found
    assert "Labels of 1 of 6 volumes are odd somewhere, mostly: " in found
    assert "LV and myocardium enclose background in a slice (1)" in found


def test_wrapped_intensities_are_reported(tmp_path: Path) -> None:
    folder = write_heart(tmp_path, 1)
    image = np.asarray(nib.load(folder / "patient001_frame01.nii.gz").dataobj)
    wrapped = (image.astype(np.uint16) * 250).view(np.int16)
    save(folder / "patient001_frame01.nii.gz", wrapped)
    survey = survey_of(tmp_path)
    assert survey.frame().is_unwrapped.tolist() == [True, False]
    assert "Unsigned intensities are stored as signed ones in 1 image: patient001 ED." in found_in(survey)
