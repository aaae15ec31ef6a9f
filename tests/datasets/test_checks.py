from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.labels import AcdcLabel
from pipelines.core.records import PatientRecord, Phase
from pipelines.datasets.acdc import read_acdc
from pipelines.datasets.checks import check_patient, check_volume

Writer = Callable[..., Path]
AFFINE = np.diag([1.5, 1.5, 8.0, 1.0])


def only_patient(root: Path) -> PatientRecord:
    return read_acdc(root).patients[0]


@pytest.mark.parametrize("slices", [1, 3, 40])
def test_a_sound_patient_passes_whole(tmp_path: Path, write_patient: Writer, slices: int) -> None:
    write_patient(tmp_path, slices=slices)
    patient = only_patient(tmp_path)
    checked, problems = check_patient(patient)
    assert problems == []
    assert checked == patient


def test_what_passes_is_returned_as_its_label(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path)
    label = check_volume(only_patient(tmp_path).volumes[0])
    assert (label.array == AcdcLabel.LV).sum() == 4 * 4 * 3


def constant(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.full_like(image, 5), label


def with_nan(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(label == AcdcLabel.LV, np.nan, image).astype(np.float32), label


def with_label_7(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, np.where(label == AcdcLabel.LV, 7, label)


def fewer_slices(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, label[..., 1:]


def without_rv(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return image, np.where(label == AcdcLabel.RV, 0, label).astype(np.uint8)


def five_dimensions(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([np.stack([image, image], -1)] * 2, -1), label


def cine(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.stack([image, image], -1), label


def wrapped(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.where(label == AcdcLabel.LV, -20000, 20000).astype(np.int16), label


def rgb(image: np.ndarray, label: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.zeros(image.shape, np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")])), label


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (constant, "found the constant 5"),
        (with_nan, "found 48 NaN or infinite voxels"),
        (with_label_7, "expected label values 0 to 3"),
        (fewer_slices, "expected the label on the image's grid"),
        (without_rv, "expected RV, MYO and LV in the label, found no rv"),
        (five_dimensions, "found 5-D"),
        (cine, "expected one frame (3-D)"),
        (wrapped, "found uint16 stored as int16"),
        (rgb, "found RGB voxels"),
    ],
)
def test_a_faulty_volume_is_put_aside_and_the_other_phase_kept(
    tmp_path: Path,
    write_patient: Writer,
    write_nifti: Writer,
    heart_label: Callable[..., np.ndarray],
    spoil: Callable[..., tuple[np.ndarray, np.ndarray]],
    reason: str,
) -> None:
    folder = write_patient(tmp_path)
    label = heart_label()
    image = np.arange(label.size, dtype=np.int16).reshape(label.shape)
    image, label = spoil(image, label)
    write_nifti(folder / "patient001_frame01.nii.gz", image)
    write_nifti(folder / "patient001_frame01_gt.nii.gz", label)
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert [volume.phase for volume in checked.volumes] == [Phase.ES]
    assert problem.patient == "patient001"
    assert problem.path == folder / "patient001_frame01.nii.gz"
    assert reason in problem.reason


def test_a_label_with_another_affine_is_put_aside(
    tmp_path: Path, write_patient: Writer, write_nifti: Writer, heart_label: Callable[..., np.ndarray]
) -> None:
    folder = write_patient(tmp_path)
    flipped = np.diag([-1.5, 1.5, 8.0, 1.0])
    write_nifti(folder / "patient001_frame01_gt.nii.gz", heart_label(), flipped)
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert [volume.phase for volume in checked.volumes] == [Phase.ES]
    assert "expected the image's affine, found one that differs by 3" in problem.reason


@pytest.mark.parametrize("length", [0, 200])
def test_a_truncated_label_is_put_aside(tmp_path: Path, write_patient: Writer, length: int) -> None:
    path = write_patient(tmp_path) / "patient001_frame01_gt.nii.gz"
    path.write_bytes(path.read_bytes()[: min(length, path.stat().st_size - 20)])
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert len(checked.volumes) == 1
    assert "copy it again" in problem.reason


def test_a_volume_without_a_label_is_put_aside(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path)
    volume = replace(only_patient(tmp_path).volumes[0], label=None)
    with pytest.raises(DataError, match=r"expected a label patient001_frame01_gt\.nii\.gz, found none"):
        check_volume(volume)


def test_a_patient_whose_lv_grows_towards_es_is_put_aside_whole(
    tmp_path: Path, write_patient: Writer
) -> None:
    write_patient(tmp_path, ED=3, ES=1)
    checked, (problem,) = check_patient(only_patient(tmp_path))
    assert checked.volumes == ()
    # 2 x 4 x 3 and 4 x 4 x 3 voxels of 18 mm3
    assert "LV at ED not smaller than at ES, found 0.4 mL and 0.9 mL; swap ED and ES" in problem.reason
