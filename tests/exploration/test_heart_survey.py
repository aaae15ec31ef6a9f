from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_hearts import AFFINE, heart_label, save, write_heart

from pipelines.core.errors import DataError
from pipelines.datasets.acdc import read_acdc
from pipelines.exploration.heart_survey import HeartSurvey, survey_hearts
from pipelines.exploration.section_shift import section_shifts
from pipelines.exploration.survey_findings import survey_findings
from pipelines.exploration.survey_outliers import find_outliers


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
    assert "before training: 1 volume or patient would be put aside: patient002." in found_in(survey)


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
    assert "1 patient of the folder in no section of the datalist: patient002." in found


def test_ed_smaller_than_es_needs_a_decision(tmp_path: Path) -> None:
    write_heart(tmp_path, 1)
    write_heart(tmp_path, 2, es_px=10.0)
    survey = survey_of(tmp_path)
    assert {patient for patient, _ in survey.odd_patients} == {"patient002"}
    assert "found 30.9 mL and 48.8 mL" in survey.problems[0].reason
    assert "ED and ES are implausible in 1 patient: patient002: LV EF of -" in found_in(survey)


def test_missing_and_unusable_labels_are_told_apart(tmp_path: Path) -> None:
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


def test_the_same_image_in_two_patients_is_found_and_said_to_cross_the_split(tmp_path: Path) -> None:
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
    assert "patient001 ED and patient002 ED. Pairs that cross the sections of the split: 1." in found_in(
        survey
    )


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
