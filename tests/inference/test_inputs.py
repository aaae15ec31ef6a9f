"""Tests of the search for studies."""

import os
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from pydicom.uid import generate_uid

from pipelines.core.errors import DataError
from pipelines.core.records import Phase
from pipelines.inference.inputs import StudyKind, find_studies, look_for_studies


def nifti(path: Path, shape: tuple[int, ...] = (4, 4, 3)) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(np.arange(np.prod(shape), dtype=np.float32).reshape(shape), np.eye(4)), path)
    return path


def acdc_patient(folder: Path, *, info: str = "ED: 1\nES: 12\nGroup: DCM\n", cine: bool = False) -> Path:
    for frame in (1, 12):
        nifti(folder / f"{folder.name}_frame{frame:02d}.nii.gz")
        nifti(folder / f"{folder.name}_frame{frame:02d}_gt.nii.gz")
    if cine:
        nifti(folder / f"{folder.name}_4d.nii.gz", (4, 4, 3, 5))
    (folder / "Info.cfg").write_text(info, encoding="utf-8")
    return folder


def test_one_file_is_one_study_that_loads_itself(tmp_path: Path) -> None:
    found = find_studies([nifti(tmp_path / "heart.nii.gz")])
    studies, problems = found.studies, found.problems
    assert problems == []
    assert [(study.name, study.patient, study.kind) for study in studies] == [
        ("heart", "heart", StudyKind.NIFTI)
    ]
    volume = studies[0].images[0].load()
    warnings = list(volume.warnings)
    assert volume.array.shape == (4, 4, 3)
    assert warnings == []


def test_folder_is_searched_deeply_and_labels_and_hidden_files_are_passed_over(tmp_path: Path) -> None:
    nifti(tmp_path / "a" / "b" / "one.nii.gz")
    nifti(tmp_path / "two.nii")
    for name in ("one_gt.nii.gz", "two_seg.nii.gz", "two_segmentation.nii", ".part-1-three.nii.gz"):
        nifti(tmp_path / "a" / name)
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    found = find_studies([tmp_path])
    studies, problems = found.studies, found.problems
    assert sorted(study.name for study in studies) == ["one", "two"]
    assert problems == []


def test_acdc_patient_is_one_study_with_known_phases(tmp_path: Path) -> None:
    acdc_patient(tmp_path / "patient007")
    found = find_studies([tmp_path])
    (study,), problems = found.studies, found.problems
    assert problems == []
    assert (study.patient, study.kind) == ("patient007", StudyKind.PHASES)
    assert [(image.name, image.phase, image.frame) for image in study.images] == [
        ("patient007_frame01", Phase.ED, 1),
        ("patient007_frame12", Phase.ES, 12),
    ]


def test_two_named_frame_files_pair_up(tmp_path: Path) -> None:
    folder = acdc_patient(tmp_path / "patient007")
    (study,) = find_studies(
        [folder / "patient007_frame12.nii.gz", folder / "patient007_frame01.nii.gz"]
    ).studies
    assert [image.phase for image in study.images] == [Phase.ED, Phase.ES]


def test_cine_of_an_acdc_patient_is_preferred(tmp_path: Path) -> None:
    acdc_patient(tmp_path / "patient007", cine=True)
    (study,) = find_studies([tmp_path]).studies
    assert (study.patient, study.kind) == ("patient007", StudyKind.NIFTI)
    assert [image.path.name for image in study.images] == ["patient007_4d.nii.gz"]


def test_frames_without_info_are_studies_of_unknown_phase(tmp_path: Path) -> None:
    (acdc_patient(tmp_path / "patient007") / "Info.cfg").unlink()
    found = find_studies([tmp_path])
    studies, problems = found.studies, found.problems
    assert [study.images[0].phase for study in studies] == [None, None]
    assert problems == []


def test_ed_beyond_the_last_frame_is_a_problem_and_es_is_kept(tmp_path: Path) -> None:
    acdc_patient(tmp_path / "patient007", info="ED: 99\nES: 12\n")
    found = find_studies([tmp_path])
    (study,), (problem,) = found.studies, found.problems
    assert [image.phase for image in study.images] == [Phase.ES]
    assert "frame 99 (ED)" in problem.reason


@pytest.mark.parametrize("info", ["ED: first\nES: 12\n", "Group: DCM\n", "no colon\n", ""])
def test_info_that_cannot_be_used_is_a_problem_and_its_frames_stay_single(tmp_path: Path, info: str) -> None:
    acdc_patient(tmp_path / "patient007", info=info)
    found = find_studies([tmp_path])
    studies, problems = found.studies, found.problems
    assert len(studies) == 2
    assert [problem.path.name for problem in problems] == ["Info.cfg"]


def test_files_of_one_name_get_names_that_differ(tmp_path: Path) -> None:
    paths = [nifti(tmp_path / folder / "Heart 1.nii.gz") for folder in "ab"] + [
        nifti(tmp_path / "c" / "heart_1.nii")
    ]
    studies = find_studies(paths).studies
    assert [study.name for study in studies] == ["Heart_1", "Heart_1_2", "heart_1_3"]


def test_file_given_twice_is_one_study(tmp_path: Path) -> None:
    path = nifti(tmp_path / "heart.nii.gz")
    nifti(tmp_path / "zebra.nii.gz")
    studies = find_studies([path, tmp_path, path]).studies
    assert [study.name for study in studies] == ["heart", "zebra"]


def test_dicom_series_spread_over_folders_is_one_study(
    tmp_path: Path, write_dicom: Callable[..., Path]
) -> None:
    uid = generate_uid()
    for z in range(3):
        path = tmp_path / "sax" / f"slice{z}" / "IM1"
        write_dicom(path, SeriesInstanceUID=uid, PatientID="Anna K.", ImagePositionPatient=[0, 0, 8 * z])
    found = find_studies([tmp_path])
    (study,), problems = found.studies, found.problems
    assert problems == []
    assert (study.name, study.patient, study.kind) == ("sax", "Anna K.", StudyKind.DICOM)
    volume = study.images[0].load()
    assert volume.array.shape == (2, 2, 3)
    assert volume.spacing_mm == pytest.approx((1.5, 1.5, 8.0))


def test_two_series_in_a_folder_are_two_studies(tmp_path: Path, write_dicom: Callable[..., Path]) -> None:
    for number in range(2):
        write_dicom(tmp_path / "sax" / f"{number}.dcm", SeriesInstanceUID=generate_uid())
    studies = find_studies([tmp_path]).studies
    assert [study.name for study in studies] == ["sax", "sax_2"]


def test_linked_folder_that_leads_back_is_searched_once(tmp_path: Path) -> None:
    nifti(tmp_path / "data" / "heart.nii.gz")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data")
    studies = find_studies([tmp_path]).studies
    assert [study.name for study in studies] == ["heart"]


def test_missing_path_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"found nothing at .*absent\.nii"):
        find_studies([tmp_path / "absent.nii"])


def test_folder_without_images_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "readme.md").write_text("empty", encoding="utf-8")
    with pytest.raises(DataError, match="found none in"):
        find_studies([tmp_path])


def test_file_that_is_no_image_is_a_problem_beside_sound_files(tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no image", encoding="utf-8")
    found = find_studies([text, nifti(tmp_path / "heart.nii.gz")])
    studies, problems = found.studies, found.problems
    assert [study.name for study in studies] == ["heart"]
    assert [problem.path for problem in problems] == [text]


def test_broken_dicom_file_is_a_problem_beside_sound_files(tmp_path: Path) -> None:
    (tmp_path / "zero.dcm").touch()
    nifti(tmp_path / "heart.nii.gz")
    found = find_studies([tmp_path])
    studies, problems = found.studies, found.problems
    assert [study.name for study in studies] == ["heart"]
    assert [problem.path.name for problem in problems] == ["zero.dcm"]


def label_map(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(
        nib.Nifti1Image(np.random.default_rng(0).integers(0, 4, (20, 20, 6)).astype(np.uint8), np.eye(4)),
        path,
    )
    return path


def test_the_name_of_a_series_does_not_make_it_a_label_map(tmp_path: Path) -> None:
    nifti(tmp_path / "CINE_segmented_SAX_b1.nii.gz")
    nifti(tmp_path / "cine_seg.nii.gz", (20, 20, 6))  # 2,400 values: an image, whatever its name
    found = find_studies([tmp_path])
    studies, problems = found.studies, found.problems
    assert [study.name for study in studies] == ["CINE_segmented_SAX_b1", "cine_seg"]
    assert problems == look_for_studies([tmp_path]).passed_over == []


def test_label_maps_are_passed_over_and_listed_by_name_folder_or_voxels(tmp_path: Path) -> None:
    nifti(tmp_path / "heart.nii.gz")
    for name in ("label_sa_ED.nii.gz", "labelsTr/ACDC_001.nii.gz", "a_manual.nii", "heart-gt.nii.gz"):
        label_map(tmp_path / name)
    (tmp_path / "pair.hdr").write_bytes(b"half")
    studies = find_studies([tmp_path]).studies
    assert [study.name for study in studies] == ["heart"]
    listed = {problem.path.name: problem.reason for problem in look_for_studies([tmp_path]).passed_over}
    assert listed.keys() == {
        "label_sa_ED.nii.gz",
        "ACDC_001.nii.gz",
        "a_manual.nii",
        "heart-gt.nii.gz",
        "pair.hdr",
    }
    assert "convert the pair to .nii.gz" in listed["pair.hdr"]
    hidden = label_map(tmp_path / "contours.nii.gz")
    (study,) = find_studies([hidden]).studies
    with pytest.raises(DataError, match=r"\[0, 1, 2, 3\] alone in .*contours.*looks like a label map"):
        study.images[0].load()


@pytest.mark.parametrize(
    "values", [(0, 100, 200), (0, 85, 170, 255), (0, 255), (0, 200, 500, 600), (0, 0.5, 1, 1.5)]
)
def test_labels_of_any_values_under_a_plain_name_are_passed_over(
    tmp_path: Path, values: tuple[float, ...]
) -> None:
    nifti(tmp_path / "heart.nii.gz")
    label = np.zeros((40, 40, 6), np.float32)
    for number, value in enumerate(values[1:]):
        label[5 * number + 5 : -5 * number - 5, 10:-10, 1:5] = value
    nib.save(nib.Nifti1Image(label, np.eye(4)), tmp_path / "drawn.nii.gz")
    found = look_for_studies([tmp_path])
    assert [study.name for study in found.studies] == ["heart"]
    assert [problem.path.name for problem in found.passed_over] == ["drawn.nii.gz"]
    (study,) = find_studies([tmp_path / "drawn.nii.gz"]).studies
    volume = study.images[0].load()
    assert f"it has {len(values)} values alone, in equal steps from 0: a label map?" in volume.warnings


def test_flat_areas_of_a_simple_phantom_are_an_image(tmp_path: Path) -> None:
    phantom = np.zeros((40, 40, 6), np.float32)
    for number, value in enumerate((80, 150, 200)):
        phantom[5 * number + 5 : -5 * number - 5, 10:-10, 1:5] = value
    for name, offset in (("air_is_black", 0), ("air_is_grey", 0.25)):
        nib.save(nib.Nifti1Image(phantom + offset, np.eye(4)), tmp_path / f"{name}.nii.gz")
    assert [study.name for study in find_studies([tmp_path]).studies] == ["air_is_black", "air_is_grey"]


def test_a_constant_image_is_no_label_map(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((40, 40, 6), np.int16), np.eye(4)), tmp_path / "black.nii.gz")
    (study,) = find_studies([tmp_path]).studies
    with pytest.raises(DataError, match="expected an image with contrast"):
        study.images[0].load()


def test_an_image_of_few_grey_values_is_no_label_map(tmp_path: Path) -> None:
    noise = 100 * np.random.default_rng(0).integers(0, 8, (40, 40, 6), np.int16)
    nib.save(nib.Nifti1Image(noise, np.eye(4)), tmp_path / "noise.nii.gz")
    assert [study.name for study in find_studies([tmp_path]).studies] == ["noise"]


@pytest.mark.parametrize("stored", ["float", "slope"])
def test_labels_that_are_off_by_rounding_are_no_image(tmp_path: Path, stored: str) -> None:
    label = np.random.default_rng(0).integers(0, 4, (20, 20, 6))
    image = nib.Nifti1Image((label * 1.0000002).astype(np.float32), np.eye(4))
    if stored == "slope":
        image = nib.Nifti1Image((label * 85).astype(np.uint8), np.eye(4))
        image.header.set_slope_inter(1 / 85, 0)
    for name in ("contours.nii.gz", "heart_gt.nii.gz"):
        nib.save(image, tmp_path / name)
    passed_over = look_for_studies([tmp_path]).passed_over
    assert [problem.path.name for problem in passed_over] == ["contours.nii.gz", "heart_gt.nii.gz"]
    (study,) = find_studies([tmp_path / "contours.nii.gz"]).studies
    with pytest.raises(DataError, match="looks like a label map"):
        study.images[0].load()


def test_names_in_any_script_can_be_distinguished(tmp_path: Path) -> None:
    for name in ("患者一", "患者二", "Søren", "So\u0308ren"):
        nifti(tmp_path / f"{name}.nii.gz")
    studies = find_studies([tmp_path]).studies
    assert sorted(study.patient for study in studies) == sorted(["患者一", "患者二", "Søren", "Sören"])
    assert len({study.name for study in studies}) == 4


def test_a_patient_whose_file_or_folder_has_no_utf8_name_has_one_that_can_be_written(tmp_path: Path) -> None:
    name = os.fsdecode(b"M\xfcller")
    nifti(tmp_path / f"{name}.nii.gz")
    acdc_patient(tmp_path / f"{name}_2")
    studies = find_studies([tmp_path]).studies
    assert sorted(study.patient for study in studies) == [r"M\udcfcller", r"M\udcfcller_2"]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_info_with_a_byte_order_mark_and_floats_is_read(tmp_path: Path, encoding: str) -> None:
    folder = acdc_patient(tmp_path / "patient007")
    (folder / "Info.cfg").write_text("ED: 1.0\nES: 12.0\n", encoding=encoding)
    found = find_studies([tmp_path])
    (study,), problems = found.studies, found.problems
    assert problems == []
    assert [image.frame for image in study.images] == [1, 12]


@pytest.mark.parametrize("letter", ["x", "ü"])
def test_a_long_name_leaves_room_for_endings(tmp_path: Path, letter: str) -> None:
    name = letter * (240 // len(letter.encode()))
    paths = [nifti(tmp_path / f"{folder}" / f"{name}.nii.gz") for folder in "ab"]
    one, other = find_studies(paths).studies
    assert len(one.name.encode()) == 180
    assert other.name == f"{one.name}_2"


def test_what_to_do_with_an_archive_or_another_format_is_reported(tmp_path: Path) -> None:
    nifti(tmp_path / "heart.nii.gz")
    (tmp_path / "series.zip").write_bytes(b"PK")
    (problem,) = look_for_studies([tmp_path]).passed_over
    assert problem.reason.endswith("found neither; convert images to .nii.gz and unpack archives")
