from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_hearts import AFFINE, heart_label, write_heart

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import UNLABELLED, AcdcLabel
from pipelines.core.volume import Volume, read_label, read_volume
from pipelines.datasets.loading import (
    NiftiSource,
    check_convention,
    found_values,
    load_image,
    load_label,
    load_pair,
    map_labels,
    parse_values,
    without_unlabelled,
)
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.prepare import prepare_acdc, read_datalist
from pipelines.datasets.readers import read_dataset

VALUES = {1: AcdcLabel.LV, 2: AcdcLabel.MYO, 3: AcdcLabel.RV}


def label(array: np.ndarray) -> Volume:
    return Volume(array, AFFINE, (2.0, 2.0, 10.0))


@pytest.mark.parametrize("values", permutations((1, 2, 3)))
def test_each_structure_is_found_by_its_place(values: tuple[int, int, int]) -> None:
    rv, myo, lv = values
    array = np.array([0, rv, myo, lv], np.uint8)[heart_label()]
    found = found_values(label(array))
    assert found == {rv: AcdcLabel.RV, myo: AcdcLabel.MYO, lv: AcdcLabel.LV}
    if values == (1, 2, 3):
        check_convention(label(array))
    else:
        with pytest.raises(DataError, match=f"LV {lv}"):
            check_convention(label(array))


def test_a_label_without_a_ring_tells_nothing() -> None:
    open_heart = heart_label()
    open_heart[28:] = np.where(open_heart[28:] == AcdcLabel.MYO, 0, open_heart[28:])
    assert found_values(label(open_heart)) is None
    check_convention(label(open_heart))


def test_an_option_is_read_and_a_wrong_one_refused() -> None:
    assert parse_values("lv=1,myo=2,rv=3") == VALUES
    for text in ("lv", "lv=1,rv=1", "atrium=1", "lv=x"):
        with pytest.raises(ConfigError, match="expected label values such as lv=1,myo=2,rv=3"):
            parse_values(text)


def changed(root: Path, change: object) -> None:
    for path in root.rglob("*_gt.nii.gz"):
        array = np.asarray(nib.load(path).dataobj)
        nib.save(nib.Nifti1Image(change(array), AFFINE), path)  # type: ignore[operator]


def test_another_convention_is_skipped_with_its_name_and_mapped_by_the_option(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_heart(tmp_path / "in", number)
    changed(tmp_path / "in", lambda array: np.array([0, 3, 2, 1], np.uint8)[array])
    with pytest.raises(DataError, match="by its anatomy LV 1, MYO 2, RV 3.*--label-values lv=1,myo=2,rv=3"):
        prepare_acdc(tmp_path / "in", tmp_path / "out")
    made = prepare_acdc(tmp_path / "in", tmp_path / "out", label_values=VALUES)
    assert (made.volumes, made.problems) == (6, [])
    item = read_datalist(made.datalist)["volumes"][0]
    assert np.array_equal(read_label(Path(item["label"])).array, heart_label())


def test_labels_off_by_rounding_are_written_anew_as_whole_numbers(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_heart(tmp_path / "in", number)
    changed(tmp_path / "in", lambda array: (array * 0.9999998).astype(np.float32))
    made = prepare_acdc(tmp_path / "in", tmp_path / "out")
    for item in read_datalist(made.datalist)["volumes"]:
        stored = np.asarray(nib.load(item["label"]).dataobj)
        assert set(np.unique(stored)) == {0, 1, 2, 3}


def test_a_stack_in_another_order_is_prepared_in_the_order_of_training(tmp_path: Path) -> None:
    for number in range(1, 4):
        write_heart(tmp_path / "in", number)
    plain = prepare_acdc(tmp_path / "in", tmp_path / "plain")
    expected = [read_volume(Path(item["image"])) for item in read_datalist(plain.datalist)["volumes"]]
    assert expected[0].path is not None
    assert expected[0].path.is_relative_to(tmp_path / "in")
    for path in (tmp_path / "in").rglob("*.nii.gz"):
        image = nib.load(path)
        nib.save(image.as_reoriented(np.array([[2, -1], [0, 1], [1, -1]])), path)
    turned = prepare_acdc(tmp_path / "in", tmp_path / "turned")
    for before, item in zip(expected, read_datalist(turned.datalist)["volumes"], strict=True):
        stored = nib.load(item["image"])
        assert np.array_equal(np.asarray(stored.dataobj), before.array)
        assert np.allclose(stored.affine, before.affine)


def test_mscmr_as_it_is_passed_around_is_read_by_its_anatomy(tmp_path: Path) -> None:
    array = np.array([0, 3, 1, 2], np.uint8)[heart_label()]
    image = np.random.default_rng(0).normal(100, 20, array.shape).astype(np.float32)
    nib.save(nib.Nifti1Image(image, AFFINE), tmp_path / "subject7_DE.nii.gz")
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "subject7_DE_manual.nii.gz")
    (record,) = read_dataset("mscmr-lge", tmp_path).volumes
    found = load_label(record)
    assert found is not None
    assert record.patient == "subject7"
    assert np.array_equal(found.array, heart_label())


def test_a_label_moved_by_its_header_is_reported_in_millimetres(tmp_path: Path) -> None:
    from pipelines.core.volume import check_same_grid

    moved = AFFINE.copy()
    moved[2, 3] += 10
    with pytest.raises(DataError, match=r"the same grid moved by 0\.0, 0\.0 and 10\.0 mm"):
        check_same_grid(label(heart_label()), replace(label(heart_label()), affine=moved))


Writer = Callable[..., Path]
VALUES_LOADING = {500: AcdcLabel.LV, 205: AcdcLabel.MYO, 600: AcdcLabel.RV, 420: AcdcLabel.BACKGROUND}


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
    source = NiftiSource(image, write_nifti(tmp_path / "label.nii.gz", labels), VALUES_LOADING, 2)
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
    with pytest.raises(DataError, match=r"expected one frame \(3-D\), found \(2, 2, 1, 3\)"):
        load_image(replace(record, image=cine))


def test_a_label_value_without_a_meaning_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected label values \[0, 205, 420, 500, 600\], found \[7.0\]"):
        map_labels(np.array([0, 7, 500]), VALUES_LOADING, tmp_path)


def test_what_nobody_annotated_is_background_in_both_masks() -> None:
    mask = np.array([[3, 3], [2, 0]])
    label = np.array([[3, UNLABELLED], [UNLABELLED, 2]], np.uint8)
    seen, truth = without_unlabelled(mask, label)
    assert seen.tolist() == [[3, 0], [0, 0]]
    assert truth.tolist() == [[3, 0], [0, 2]]
    assert without_unlabelled(mask, truth)[0] is mask
