from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.volume import read_volume
from pipelines.datasets.prepare import read_datalist, select
from pipelines.server.history import LabelStore
from pipelines.server.images import StudyImages
from pipelines.server.training_data import divide, labelled_patients, write_training_data

from .conftest import heart, true_mask, write_nifti


def accept_all(studies: Path) -> tuple[StudyImages, LabelStore]:
    images, labels = StudyImages(studies, lambda cine: (0, 1)), LabelStore(studies)
    images.scan()
    for image in images.all():
        volume = read_volume(image.path)
        labels.accept(image.id, true_mask(volume.array), volume, author="anna")
    return images, labels


def test_labels_of_one_patient_are_too_few(studies: Path) -> None:
    (studies / "lone.nii.gz").unlink()
    with pytest.raises(DataError, match="at least 2 patients, .*found 1; label another patient first"):
        labelled_patients(*(part if index else part.all() for index, part in enumerate(accept_all(studies))))


def test_labels_that_cannot_be_a_heart_are_not_learned_from(studies: Path) -> None:
    images, labels = accept_all(studies)
    lone = read_volume(studies / "lone.nii.gz")
    labels.accept("lone", np.full(lone.array.shape, 3, np.uint8), lone, author="ben")
    with pytest.raises(DataError, match="found 1 beside 1 labels that cannot be a heart"):
        labelled_patients(images.all(), labels)


def test_a_patient_keeps_its_side_whoever_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    first = divide(["anna", "ben"], path)
    assert sorted(first.values()) == ["training", "validation"]
    many = divide([*"abcdefghijklmnopqr", "anna", "ben"], path)
    assert {name: many[name] for name in first} == first
    assert list(many.values()).count("validation") == 4


def test_patients_that_are_all_on_one_side_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    sides = divide([f"patient{number}" for number in range(10)], path)
    learned = [name for name, side in sides.items() if side == "training"]
    with pytest.raises(DataError, match="found all on the side of training"):
        divide(learned, path)


def test_both_phases_of_a_patient_are_on_one_side_with_slices_last(studies: Path, tmp_path: Path) -> None:
    turned = np.moveaxis(heart(4.0), 2, 0)
    write_nifti(
        studies / "lone.nii.gz", turned, np.array([[0, 2, 0, 0], [0, 0, 2, 0], [8, 0, 0, 0], [0, 0, 0, 1.0]])
    )
    images, labels = accept_all(studies)
    patients = labelled_patients(images.all(), labels)
    sides = divide(patients, tmp_path / "split.json")
    write_training_data(patients, sides, labels, tmp_path / "job")
    datalist = read_datalist(tmp_path / "job")
    by_side = {name: select(datalist, name, 0) for name in ("training", "validation")}
    found = {name: {item["patient"] for item in items} for name, items in by_side.items()}
    assert found["training"] | found["validation"] == {"patient001", "lone"}
    assert not found["training"] & found["validation"]
    assert sorted(len(items) for items in by_side.values()) == [1, 2]
    for item in (*by_side["training"], *by_side["validation"]):
        image, label = nib.load(item["image"]), nib.load(item["label"])
        assert image.shape == label.shape == (24, 20, 5)
        np.testing.assert_array_equal(true_mask(image.get_fdata()), np.asarray(label.dataobj))
        np.testing.assert_allclose(image.affine, label.affine)
