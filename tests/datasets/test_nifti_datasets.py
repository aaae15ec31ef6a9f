"""M&Ms, MM-WHS, HVSMR, MS-CMR and UK Biobank as NIfTI, each in the layout of its release."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.records import AcdcLabel, Phase
from pipelines.datasets.loading import load_image, load_label, load_pair
from pipelines.datasets.readers import read_dataset

Writer = Callable[..., Path]
RNG = np.random.default_rng(0)


def image(*shape: int) -> np.ndarray:
    return RNG.integers(0, 100, shape or (4, 4, 2)).astype(np.int16)


def label(values: list[int], shape: tuple[int, ...] = (4, 4, 2)) -> np.ndarray:
    """The values in the first voxels, one each, so that a mapping can be read off."""
    array = np.zeros(shape, np.int16)
    array[: len(values), 0, 0] = values if len(shape) == 3 else np.array(values)[:, None]
    return array


def first(name: str, root: Path, index: int = 0) -> list[int]:
    found = load_pair(read_dataset(name, root).volumes[index])[1].array
    return [int(value) for value in found[:, 0, 0]]


LV, MYO, RV = int(AcdcLabel.LV), int(AcdcLabel.MYO), int(AcdcLabel.RV)


@pytest.fixture
def mnms(tmp_path: Path, write_nifti: Writer) -> Path:
    rows = ["External code,VendorName,Vendor,Centre,ED,ES,Age,Pathology,Sex,Height,Weight"]
    for code, part, es in (("A0S9V9", "Training/Labeled", 2), ("B1C2D3", "Training/Unlabeled", 1)):
        rows.append(f"{code},Siemens,A,1,0,{es},50,HCM,M,170,81.5")
        folder = tmp_path / part / code
        write_nifti(folder / f"{code}_sa.nii.gz", image(4, 4, 2, 3))
        if part.endswith("Labeled") and "Un" not in part:
            labels = np.zeros((4, 4, 2, 3), np.int16)
            labels[..., 0] = label([1, 2, 3])
            labels[..., 2] = label([3, 2, 1])
            write_nifti(folder / f"{code}_sa_gt.nii.gz", labels)
    table = tmp_path / "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv"
    table.write_text("\n".join(rows) + "\n", encoding="utf-8")
    return tmp_path


def test_mnms_gives_the_frames_of_its_table_with_mapped_labels(mnms: Path) -> None:
    dataset = read_dataset("mnms", mnms)
    labelled, unlabelled = dataset.patients
    assert dataset.problems == []
    assert (labelled.group, labelled.height_cm, labelled.weight_kg, labelled.frames) == ("HCM", 170, 81.5, 3)
    assert [(volume.phase, volume.frame) for volume in labelled.volumes] == [(Phase.ED, 1), (Phase.ES, 3)]
    assert first("mnms", mnms)[:3] == [LV, MYO, RV]
    assert first("mnms", mnms, 1)[:3] == [RV, MYO, LV]
    assert load_image(labelled.volumes[1]).array.shape == (4, 4, 2)
    assert [volume.label for volume in unlabelled.volumes] == [None, None]


def test_what_mnms_lacks_is_listed_and_the_rest_goes_on(mnms: Path, write_nifti: Writer) -> None:
    table = next(mnms.glob("*.csv"))
    table.write_text(
        table.read_text(encoding="utf-8").replace("B1C2D3,Siemens,A,1,0,1", "B1C2D3,Siemens,A,1,0,9")
        + "C9C9C9,GE,C,4,0,1,,NOR,F,,\n",
        encoding="utf-8",
    )
    write_nifti(mnms / "Testing" / "X1X1X1" / "X1X1X1_sa.nii.gz", image(4, 4, 2, 3))
    (mnms / "Training/Labeled/A0S9V9/A0S9V9_sa_gt.nii.gz").unlink()
    (mnms / "Training" / "Labeled" / "Z9").mkdir()
    (mnms / "Training" / "Labeled" / "Z9" / "Z9_sa.nii.gz").write_bytes(b"cut off")
    table.write_text(table.read_text(encoding="utf-8") + "Z9,GE,C,4,0,1,,NOR,F,,\n", encoding="utf-8")
    dataset = read_dataset("mnms", mnms)
    assert [patient.patient for patient in dataset.patients] == ["A0S9V9", "B1C2D3"]
    assert [volume.phase for volume in dataset.patients[1].volumes] == [Phase.ED]
    reasons = {problem.patient: problem.reason for problem in dataset.problems}
    assert "expected the label A0S9V9_sa_gt.nii.gz" in reasons["A0S9V9"]
    assert "expected ES between frame 0 and 2, found '9'" in reasons["B1C2D3"]
    assert "expected C9C9C9_sa.nii.gz" in reasons["C9C9C9"]
    assert "expected a row for X1X1X1" in reasons["X1X1X1"]
    assert "expected a readable NIfTI file" in reasons["Z9"]


def test_mnms_without_its_table_is_refused(mnms: Path) -> None:
    next(mnms.glob("*.csv")).unlink()
    with pytest.raises(DataError, match="expected a CSV with the columns External code, ED, ES"):
        read_dataset("mnms", mnms)


def test_mmwhs_maps_seven_structures_to_three(tmp_path: Path, write_nifti: Writer) -> None:
    for modality, folder in (("mr", "mr_train"), ("ct", "ct_train1")):
        stem = tmp_path / folder / f"{modality}_train_1001"
        write_nifti(stem.with_name(f"{stem.name}_image.nii.gz"), image(8, 4, 2))
        values = [500, 205, 600, 420, 550, 820, 850]
        write_nifti(stem.with_name(f"{stem.name}_label.nii.gz"), label(values, (8, 4, 2)))
    write_nifti(tmp_path / "mr_test" / "mr_test_2001_image.nii.gz", image())
    write_nifti(tmp_path / "mr_train" / "mr_train_1002_image.nii.gz", image())
    assert first("mmwhs-mr", tmp_path, 1)[:7] == [LV, MYO, RV, 0, 0, 0, 0]
    dataset = read_dataset("mmwhs-mr", tmp_path)
    assert [volume.patient for volume in dataset.volumes] == [
        "mr_test_2001",
        "mr_train_1001",
        "mr_train_1002",
    ]
    assert [volume.label is None for volume in dataset.volumes] == [True, False, True]
    (problem,) = dataset.problems
    assert "expected the label mr_train_1002_label.nii.gz" in problem.reason
    assert [volume.patient for volume in read_dataset("mmwhs-ct", tmp_path).volumes] == ["ct_train_1001"]


def test_hvsmr_2_labels_the_ventricles_only(tmp_path: Path, write_nifti: Writer) -> None:
    write_nifti(tmp_path / "cropped" / "pat0_cropped.nii.gz", image(8, 4, 2))
    write_nifti(tmp_path / "cropped" / "pat0_cropped_seg.nii.gz", label(list(range(1, 9)), (8, 4, 2)))
    write_nifti(tmp_path / "cropped" / "pat0_cropped_seg_endpoints.nii.gz", label([1]))
    (volume,) = read_dataset("hvsmr2", tmp_path).volumes
    assert volume.structures == (AcdcLabel.RV, AcdcLabel.LV)
    assert first("hvsmr2", tmp_path) == [LV, RV, 0, 0, 0, 0, 0, 0]


def test_hvsmr_of_2016_has_no_label_that_can_be_used(tmp_path: Path, write_nifti: Writer) -> None:
    folder = tmp_path / "Training dataset"
    for view in ("axial_full", "sa_crop"):
        write_nifti(folder / f"training_{view}_pat3.nii.gz", image())
    write_nifti(tmp_path / "Ground truth" / "training_sa_crop_pat3-label.nii.gz", label([1, 2]))
    (volume,) = read_dataset("hvsmr", tmp_path).volumes
    assert volume.image.name == "training_sa_crop_pat3.nii.gz"
    assert (volume.label, volume.structures, load_label(volume)) == (None, (), None)


def test_mscmr_gives_each_sequence_as_a_dataset(tmp_path: Path, write_nifti: Writer) -> None:
    for number in (10, 2):
        write_nifti(tmp_path / "c0t2lge" / f"patient{number}_C0.nii.gz", image())
        write_nifti(tmp_path / "c0t2lge" / f"patient{number}_LGE.nii.gz", image())
    write_nifti(tmp_path / "lgegt" / "patient2_LGE_manual.nii.gz", label([200, 500, 600]))
    dataset = read_dataset("mscmr-lge", tmp_path)
    assert [patient.patient for patient in dataset.patients] == ["patient2", "patient10"]
    assert first("mscmr-lge", tmp_path)[:3] == [MYO, LV, RV]
    assert [volume.label for volume in read_dataset("mscmr-bssfp", tmp_path).volumes] == [None, None]
    with pytest.raises(
        DataError, match=r"expected files patientN_T2.nii.gz below .*thorax datasets mscmr-t2"
    ):
        read_dataset("mscmr-t2", tmp_path)


def test_ukbb_takes_manual_labels_and_no_predictions(tmp_path: Path, write_nifti: Writer) -> None:
    for phase, values in (("ED", [1, 2, 3]), ("ES", [3, 2, 1])):
        write_nifti(tmp_path / "1000001" / f"sa_{phase}.nii.gz", image())
        write_nifti(tmp_path / "1000001" / f"label_sa_{phase}.nii.gz", label(values))
        write_nifti(tmp_path / "1000002" / f"seg_sa_{phase}.nii.gz", label(values))
    write_nifti(tmp_path / "1000002" / "sa.nii.gz", image(4, 4, 2, 5))
    write_nifti(tmp_path / "1000003" / "sa.nii.gz", image(4, 4, 2, 5))
    labels = np.zeros((4, 4, 2, 5), np.int16)
    for frame, size in ((0, 4), (2, 2), (3, 3)):
        labels[:size, ..., frame] = 1
    write_nifti(tmp_path / "1000003" / "label_sa.nii.gz", labels)
    one, two, three = read_dataset("ukbb", tmp_path).patients
    assert first("ukbb", tmp_path)[:3] == [LV, MYO, RV]
    assert first("ukbb", tmp_path, 1)[:3] == [RV, MYO, LV]
    assert [(volume.phase, volume.label) for volume in two.volumes] == [(Phase.ED, None)]
    assert (one.frames, two.frames) == (None, 5)
    assert [(volume.phase, volume.frame) for volume in three.volumes] == [(Phase.ED, 1), (Phase.ES, 3)]
    found = load_label(three.volumes[1])
    assert found is not None
    assert int((found.array == AcdcLabel.LV).sum()) == 2 * 4 * 2


def test_a_phase_that_ukbb_lacks_is_listed(tmp_path: Path, write_nifti: Writer) -> None:
    write_nifti(tmp_path / "1000001" / "sa_ED.nii.gz", image())
    (problem,) = read_dataset("ukbb", tmp_path).problems
    assert "expected sa_ES.nii.gz, found no such file" in problem.reason
