from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.core.labels import UNLABELLED, AcdcLabel
from pipelines.core.volume import read_label, read_volume
from pipelines.datasets.acdc import read_acdc
from pipelines.datasets.loading import (
    NiftiSource,
    load_image,
    load_label,
    load_pair,
    map_labels,
    without_unlabelled,
)

Writer = Callable[..., Path]
VALUES = {500: AcdcLabel.LV, 205: AcdcLabel.MYO, 600: AcdcLabel.RV, 420: AcdcLabel.BACKGROUND}


def test_plain_files_load_as_they_did(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path)
    (record, _) = read_acdc(tmp_path).volumes
    assert record.label is not None
    image, label = load_pair(record)
    assert np.array_equal(image.array, read_volume(record.image).array)
    assert np.array_equal(label.array, read_label(record.label).array)
    assert (image.array.dtype, label.array.dtype) == (np.float32, np.uint8)
    assert load_label(replace(record, label=None)) is None


def test_a_pair_without_a_label_is_refused(tmp_path: Path, write_patient: Writer) -> None:
    write_patient(tmp_path)
    (record, _) = read_acdc(tmp_path).volumes
    with pytest.raises(DataError, match="expected a label for patient001 ED, found none"):
        load_pair(replace(record, label=None))


def test_one_frame_of_a_cine_is_loaded_with_its_labels_mapped(tmp_path: Path, write_nifti: Writer) -> None:
    cine = np.arange(2 * 2 * 1 * 3, dtype=np.int16).reshape(2, 2, 1, 3)
    labels = np.zeros((2, 2, 1, 3), np.int16)
    labels[..., 2] = np.array([[500, 205], [600, 420]])[..., None]
    image = write_nifti(tmp_path / "image.nii.gz", cine)
    source = NiftiSource(image, write_nifti(tmp_path / "label.nii.gz", labels), VALUES, 2)
    assert np.array_equal(source.read_image().array, cine[..., 2])
    label = source.read_label()
    assert label is not None
    assert label.array[..., 0].tolist() == [[AcdcLabel.LV, AcdcLabel.MYO], [AcdcLabel.RV, 0]]
    with pytest.raises(DataError, match="expected a cine with a frame 4"):
        replace(source, index=3).read_image()
    assert replace(source, label=None).read_label() is None


def test_a_whole_cine_is_no_volume_of_one_phase(
    tmp_path: Path, write_patient: Writer, write_nifti: Writer
) -> None:
    write_patient(tmp_path)
    (record, _) = read_acdc(tmp_path).volumes
    cine = write_nifti(tmp_path / "cine.nii.gz", np.arange(12.0, dtype=np.float32).reshape(2, 2, 1, 3))
    with pytest.raises(DataError, match=r"expected a 3-D volume of one phase, found \(2, 2, 1, 3\)"):
        load_image(replace(record, image=cine))


def test_a_label_value_without_a_meaning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected label values \[0, 205, 420, 500, 600\], found \[7.0\]"):
        map_labels(np.array([0, 7, 500]), VALUES, tmp_path)


def test_what_nobody_annotated_is_background_in_both_masks() -> None:
    mask = np.array([[3, 3], [2, 0]])
    label = np.array([[3, UNLABELLED], [UNLABELLED, 2]], np.uint8)
    seen, truth = without_unlabelled(mask, label)
    assert seen.tolist() == [[3, 0], [0, 0]]
    assert truth.tolist() == [[3, 0], [0, 2]]
    assert without_unlabelled(mask, truth)[0] is mask
