"""Volumes that a studies folder offers."""

import os
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from dicom_files import write_dicom_series
from fastapi.testclient import TestClient

from pipelines.core.plausibility import HEART_FRAME
from pipelines.core.records import Phase
from pipelines.core.volume import Volume, read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.inference.inputs import find_studies
from pipelines.server import admission, images
from pipelines.server.api import make_server
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.images import StudyImages, load_image
from pipelines.server.measurements import measure

from .conftest import heart, true_mask, write_nifti


def third_and_first(cine: Volume) -> tuple[int, int]:
    """ED is frame 3 and ES is frame 1 of any cine."""
    return 2, 0


def never(cine: Volume) -> tuple[int, int]:
    raise AssertionError("the phases of this cine are known")


def images_of(folder: Path, find=never) -> StudyImages:
    images = StudyImages(folder, find)
    images.scan()
    return images


def test_frames_of_a_patient_are_served_as_a_pair_ed_first(studies: Path) -> None:
    pair = [image for image in images_of(studies).all() if image.patient == "patient001"]
    assert [(image.id, image.phase, image.frame, image.partner) for image in pair] == [
        ("patient001_frame01", Phase.ED, 1, "patient001_frame03"),
        ("patient001_frame03", Phase.ES, 3, "patient001_frame01"),
    ]


def test_many_files_are_each_read_once_and_their_names_written_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        write_nifti(tmp_path / f"heart{number}.nii.gz", heart())
    read: list[Path] = []
    written: list[int] = []
    grid, write = admission.read_grid, images.write_json
    monkeypatch.setattr(admission, "read_grid", lambda path: read.append(path) or grid(path))
    monkeypatch.setattr(
        images, "write_json", lambda path, names: written.append(len(names)) or write(path, names)
    )
    served = images_of(tmp_path)
    served.scan()
    assert len(served.all()) == len(read) == len(set(read)) == 5
    assert written == [5]
    write_nifti(tmp_path / "heart0.nii.gz", heart()[:, :, :3])
    served.scan()
    assert read[5:] == [tmp_path / "heart0.nii.gz"]
    assert images_of(tmp_path).get("heart0") is not None


def test_a_lone_volume_has_no_phase_and_no_partner(studies: Path) -> None:
    lone = images_of(studies).get("lone")
    assert lone is not None
    assert (lone.phase, lone.partner) == (None, None)


def test_a_cine_is_served_as_the_frames_that_info_cfg_names(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path, patients=1, frames=4)
    cine = nib.load(tmp_path / "training" / "patient001" / "patient001_4d.nii.gz")
    images = images_of(tmp_path)
    assert [(image.id, image.phase, image.frame) for image in images.all()] == [
        ("patient001_4d_ED", Phase.ED, 1),
        ("patient001_4d_ES", Phase.ES, 3),
    ]
    es = read_volume(images.all()[1].path)
    np.testing.assert_array_equal(es.array, np.asarray(cine.dataobj)[..., 2])
    np.testing.assert_allclose(es.affine, cine.affine, atol=1e-5)


def test_a_cine_without_info_cfg_is_split_once_by_what_the_network_finds(tmp_path: Path) -> None:
    cine = np.stack([heart(radius) for radius in (3.0, 3.5, 4.0)], axis=-1)
    write_nifti(tmp_path / "cine.nii.gz", cine, np.diag([3.0, 3.0, 8.0, 1.0]))
    first = images_of(tmp_path, third_and_first).all()
    assert [(image.id, image.frame, image.partner) for image in first] == [
        ("cine_ED", 3, "cine_ES"),
        ("cine_ES", 1, "cine_ED"),
    ]
    assert images_of(tmp_path, never).all() == first


def test_a_dicom_series_is_served_as_nifti(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "phantom", patients=1, frames=3)
    cine = tmp_path / "phantom" / "training" / "patient001" / "patient001_4d.nii.gz"
    (tmp_path / "studies").mkdir()
    write_dicom_series(cine, tmp_path / "studies" / "series")
    images = images_of(tmp_path / "studies")
    assert [image.id for image in images.all()] == ["series"]
    assert read_volume(images.all()[0].path).array.shape == nib.load(cine).shape[:3]


def test_what_the_reader_of_a_dicom_series_warns_of_is_reported_with_its_measurements(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "phantom", patients=1, frames=3)
    cine = tmp_path / "phantom" / "training" / "patient001" / "patient001_4d.nii.gz"
    (tmp_path / "studies").mkdir()
    write_dicom_series(cine, tmp_path / "studies" / "series")
    for path in (tmp_path / "studies" / "series").iterdir():
        header = pydicom.dcmread(path)
        header.Modality = "CT"
        header.save_as(path)
    (study,) = find_studies([tmp_path / "studies"]).studies
    assert load_image(study.images[0]).warnings[0] == "its modality is CT: the networks know cardiac MRI only"
    for _ in range(2):  # as it is converted, and as an earlier run left it
        (image,) = images_of(tmp_path / "studies").all()
        volume = read_volume(image.path)
        warnings = measure(np.zeros(volume.array.shape, np.uint8), volume)["warnings"]
        assert warnings[0] == "its modality is CT: the networks know cardiac MRI only"


def test_an_id_stays_with_its_file_when_another_of_that_name_comes_before_it(tmp_path: Path) -> None:
    kept = write_nifti(tmp_path / "b" / "image.nii.gz", heart())
    images = images_of(tmp_path)
    write_nifti(tmp_path / "a" / "image.nii.gz", heart(3.0))
    images.scan()
    again = images_of(tmp_path)
    for found in (images, again):
        assert {image.id for image in found.all()} == {"image", "image_2"}
        assert found.get("image").path == kept


def test_a_file_that_is_no_volume_is_skipped_with_the_reason(studies: Path) -> None:
    (studies / "broken.nii.gz").write_bytes(b"no image")
    write_nifti(studies / "flat.nii.gz", heart()[:, :, 0])
    images = images_of(studies)
    assert {image.id for image in images.all()} == {"patient001_frame01", "patient001_frame03", "lone"}
    reasons = {problem.path.name: problem.reason for problem in images.problems}
    assert "expected a readable NIfTI file" in reasons["broken.nii.gz"]
    assert "(24, 20)" in reasons["flat.nii.gz"]


def test_names_that_do_not_fit_into_utf8_are_listed_and_their_images_sent(tmp_path: Path, app: Any) -> None:
    odd = os.fsdecode(b"M\xfcller")
    write_nifti(tmp_path / "studies" / f"{odd}.nii.gz", heart())
    for name in (f"{odd}.txt", f"{odd}.nii"):
        (tmp_path / "studies" / name).write_text("no image", encoding="utf-8")
    app.datastore().refresh()
    client = TestClient(make_server(app), base_url="http://127.0.0.1:8000")
    assert client.get("/info/").json()["datastore"]["not_read"][0].startswith("M\udcfcller.nii: ")
    assert "M\udcfcller.txt" in client.get("/datastore/").json()["passed_over"]
    info = client.get("/datastore/", params={"output": "all"}).json()["objects"]["M_ller"]["image"]["info"]
    assert (info["name"], info["patient"]) == ("M\udcfcller.nii.gz", r"M\udcfcller")
    assert client.get("/datastore/image", params={"image": "M_ller"}).status_code == 200


def test_problems_are_listed_where_nothing_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "a.nii.gz").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("no image", encoding="utf-8")
    store = StudiesDatastore(tmp_path, never)
    store.refresh()
    status = store.status()
    assert (status["total"], status["problems"], status["passed_over"]) == (0, 1, ["notes.txt"])
    (told,) = status["not_read"]
    assert told.startswith("a.nii.gz: expected a readable NIfTI file")
    assert str(tmp_path) not in told


def test_label_maps_are_listed_and_read_again_only_after_a_change(
    studies: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    label = write_nifti(studies / "labelsTr" / "one.nii.gz", true_mask(heart()))
    (studies / "notes.txt").write_text("no image")
    store = StudiesDatastore(studies, never)
    store.refresh()
    with monkeypatch.context() as patch:
        patch.setattr(nib, "load", None)
        store.refresh()
    assert {"labelsTr/one.nii.gz", "notes.txt"} <= set(store.status()["passed_over"])
    nib.save(nib.Nifti1Image(heart(), np.eye(4)), label)  # an image now
    store.refresh()
    assert "labelsTr/one.nii.gz" not in store.status()["passed_over"]
    assert "one" in store.list_images()


LONG_AXIS = np.eye(4)
LONG_AXIS[:3, :3] = HEART_FRAME[:, [0, 2, 1]] * (2.0, 2.0, 16.0)


@pytest.mark.parametrize(
    ("shape", "affine", "warning"),
    [
        ((40, 40, 3), LONG_AXIS, "no short-axis stack"),
        ((170, 40, 5), np.diag([-2.0, -2.0, 8.0, 1.0]), "no heart found in the central 288 mm"),
        ((170, 40, 5), np.diag([-4.0, -4.0, 8.0, 1.0]), "more than any scanner sees"),
    ],
    ids=["long axis", "beyond the field", "wide voxels"],
)
def test_what_networks_do_not_know_is_reported_with_the_measurements(
    tmp_path: Path, shape: tuple[int, ...], affine: np.ndarray, warning: str
) -> None:
    write_nifti(tmp_path / "a.nii.gz", np.random.default_rng(0).random(shape).astype(np.float32), affine)
    (image,) = images_of(tmp_path).all()
    found = measure(np.zeros(shape, np.uint8), read_volume(image.path))["warnings"]
    assert any(warning in one for one in found)


def test_the_folder_is_read_again_only_after_a_change(studies: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images = StudyImages(studies, never)
    scans: list[int] = []
    scan = images.scan
    monkeypatch.setattr(images, "scan", lambda: (scans.append(1), scan())[1])
    images.refresh()
    images.refresh()
    assert len(scans) == 1
    write_nifti(studies / "new.nii.gz", heart())
    images.refresh()
    write_nifti(studies / "labels" / "final" / "lone_seg.nii.gz", true_mask(heart()))
    images.refresh()
    assert len(scans) == 2
    assert images.get("new") is not None


def test_an_empty_folder_has_no_images(tmp_path: Path) -> None:
    assert images_of(tmp_path).all() == []


@pytest.mark.parametrize("name", ["../lone", "/etc/passwd", "patient001/patient001_frame01", "", "."])
def test_a_name_that_is_a_path_finds_nothing(studies: Path, name: str) -> None:
    assert images_of(studies).get(name) is None
