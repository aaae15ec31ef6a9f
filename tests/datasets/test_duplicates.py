import re
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

from pipelines.core.records import PatientRecord, VolumeRecord
from pipelines.datasets.duplicates import (
    image_hashes,
    joined,
    near_duplicates,
    pixel_hash,
    thumbnail,
    without_copies,
)
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc, read_datalist


def picture(seed: int, shape: tuple[int, int] = (120, 100)) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape)
    smooth = ndimage.gaussian_filter(noise, 8)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def test_the_same_image_resized_brightened_and_noisy_is_a_near_duplicate() -> None:
    original = picture(0)
    larger = ndimage.zoom(original, 2, order=1).astype(np.float32)
    brighter = (0.7 * original + 0.2).astype(np.float32)
    noisy = original + 0.02 * np.random.default_rng(5).standard_normal(original.shape).astype(np.float32)
    stack = [thumbnail(image) for image in (picture(1), original, larger, brighter, noisy, picture(2))]
    assert near_duplicates(stack) == [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]


def test_many_images_are_compared_across_blocks() -> None:
    stack = [thumbnail(picture(seed, (40, 40))) for seed in range(1100)]
    stack.append(stack[3])
    assert near_duplicates(stack, least=0.9999) == [(3, 1100)]


def test_constant_images_are_nobody_s_duplicates() -> None:
    flat = thumbnail(np.full((40, 40), 0.5, np.float32))
    assert near_duplicates([flat, flat]) == []


def test_hashes_tell_pixels_and_shapes_apart() -> None:
    image = picture(0)
    changed = image.copy()
    changed[0, 0] += 0.01
    hashes = {pixel_hash(image), pixel_hash(image.copy()), pixel_hash(changed), pixel_hash(image.T)}
    assert len(hashes) == 3


def test_patients_are_joined_through_others() -> None:
    names = ["d", "b", "c", "a", "b"]
    assert joined(names, [(0, 4), (2, 0)]) == {"d": "b", "b": "b", "c": "b", "a": "a"}


NAMES = ["patient001", "patient002", "patient003", "patient004"]


def frames_of(folder: Path) -> list[Path]:
    """Images of a patient, ED first."""
    return sorted(folder.glob("*frame*[0-9].nii.gz"))


def give_heart(source: Path, target: Path) -> None:
    """Put the files of one patient into the folder, and under the name, of another."""
    target.mkdir(exist_ok=True)
    for path in target.iterdir():
        path.unlink()
    for path in source.iterdir():
        shutil.copy(path, target / path.name.replace(source.name, target.name))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three hearts; a fourth patient has the ED of the second and the ES of the third."""
    folder = tmp_path_factory.mktemp("cohort")
    write_phantom_cohort(folder, patients=3, frames=3, cine=False)
    give_heart(folder / "training" / "patient002", folder / "training" / "patient004")
    (ed, es), (_, other) = (frames_of(folder / "training" / name) for name in ("patient004", "patient003"))
    shutil.copy(other, es)
    assert ed.read_bytes() != es.read_bytes()
    return folder


@pytest.fixture(scope="module")
def patients(root: Path) -> list[PatientRecord]:
    return read_acdc(root).patients


@pytest.mark.parametrize(
    ("parts", "keep_test", "left"),
    [
        ((0, 1, 2, 3), False, ["patient001", "patient002"]),
        ((0, "test", 2, 3), False, ["patient001", "patient003"]),
        ((0, "test", "test", 3), False, ["patient001", "patient004"]),
        ((0, 1, 2, "test"), True, ["patient001", "patient004"]),
        (("test", "test", "test", "test"), False, ["patient001", "patient002"]),
    ],
)
def test_of_patients_that_share_a_volume_one_stays(
    patients: list[PatientRecord], parts: tuple[int | str, ...], keep_test: bool, left: list[str]
) -> None:
    # 004 has the ED of 002 and the ES of 003, so all three are one.
    hashes = image_hashes(volume for patient in patients for volume in patient.volumes)
    kept, problems = without_copies(
        patients, dict(zip(NAMES, parts, strict=True)), hashes, keep_test=keep_test
    )
    assert [patient.patient for patient in kept] == left
    assert [problem.patient for problem in problems] == [name for name in NAMES if name not in left]
    assert all(f"{left[1]} stays" in problem.reason for problem in problems)


def test_an_image_is_known_again_in_another_order_of_storage_or_packing(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(0, 500, (12, 14, 8)).astype(np.int16)
    image = nib.Nifti1Image(array, np.diag([-1.5, -1.5, 8.0, 1.0]))
    sheared = image.affine + np.outer([6.0, 0, 0, 0], [0, 0, 1, 0])  # as converters write shifted slices
    same = {
        "plain.nii": image,
        "turned.nii.gz": image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])),
        "float.nii.gz": nib.Nifti1Image(array.astype(np.float32), image.affine),
        "sheared.nii.gz": nib.Nifti1Image(array, sheared),
    }
    for name, stored in {**same, "other.nii": nib.Nifti1Image(array[::-1], image.affine)}.items():
        nib.save(stored, tmp_path / name)
    hashes = image_hashes(
        VolumeRecord("p", "NOR", "ED", 1, (1.5, 1.5, 8.0), path, None) for path in tmp_path.iterdir()
    )
    assert len({hashes[tmp_path / name] for name in same}) == 1
    assert hashes[tmp_path / "other.nii"] != hashes[tmp_path / "plain.nii"]


def test_a_copy_is_skipped_and_the_others_keep_their_parts(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "data", patients=10, frames=3, cine=False)
    prepare_acdc(tmp_path / "data", tmp_path / "before")
    before = {item["patient"]: item["part"] for item in read_datalist(tmp_path / "before")["volumes"]}
    tested, trained = (
        next(name for name, part in before.items() if part == wanted) for wanted in ("test", 0)
    )
    folder = tmp_path / "data" / "training"
    group = (folder / tested / "Info.cfg").read_text(encoding="utf-8").partition("Group: ")[2].split()[0]
    give_heart(folder / trained, folder / tested)
    info = (folder / tested / "Info.cfg").read_text(encoding="utf-8")
    (folder / tested / "Info.cfg").write_text(
        re.sub(r"Group: \w+", f"Group: {group}", info), encoding="utf-8"
    )
    prepare_acdc(tmp_path / "data", tmp_path / "after")
    after = read_datalist(tmp_path / "after")
    assert {item["patient"]: item["part"] for item in after["volumes"]} == {
        name: part for name, part in before.items() if name != tested
    }
    assert [problem["patient"] for problem in after["put_aside"]] == [tested]
