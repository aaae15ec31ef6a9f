"""Tests of label values found from the anatomy."""

from dataclasses import replace
from itertools import permutations
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from small_hearts import AFFINE, heart_label, write_heart

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import Volume, read_label, read_volume
from pipelines.datasets.label_convention import check_convention, found_values, parse_values
from pipelines.datasets.loading import load_label
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


def test_another_convention_is_put_aside_with_its_name_and_mapped_by_the_option(tmp_path: Path) -> None:
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


def test_a_label_moved_by_its_header_is_told_in_millimetres(tmp_path: Path) -> None:
    from pipelines.core.volume import check_same_grid

    moved = AFFINE.copy()
    moved[2, 3] += 10
    with pytest.raises(DataError, match=r"the same grid moved by 0\.0, 0\.0 and 10\.0 mm"):
        check_same_grid(label(heart_label()), replace(label(heart_label()), affine=moved))
