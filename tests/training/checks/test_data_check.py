"""Wrong data are named before anything is trained on them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.training.checks.case import Case
from pipelines.training.checks.data_check import check_data, explained_variance, own_label_rank


def test_sound_images_and_labels_pass(prepared: Path, make_case: Callable[..., Case]) -> None:
    verdict = check_data(make_case(prepared), 8)
    assert verdict.passed
    assert verdict.figure is not None
    assert verdict.figure > 0.9


def test_shuffled_labels_are_named(
    make_case: Callable[..., Case], change_datalist: Callable[..., Path]
) -> None:
    def shuffle(volumes: list[dict[str, Any]]) -> None:
        labels = [volume["label"] for volume in volumes]
        for index, volume in enumerate(volumes):
            volume["label"] = labels[(index + 4) % len(labels)]
            volume["fingerprint"] += "shuffled"

    verdict = check_data(make_case(change_datalist(shuffle)), 8)
    assert not verdict.passed
    assert verdict.finding.startswith("labels seem shuffled")


def test_constant_images_are_named(
    make_case: Callable[..., Case], change_datalist: Callable[..., Path], tmp_path: Path
) -> None:
    def flatten(volumes: list[dict[str, Any]]) -> None:
        for index, volume in enumerate(volumes):
            image = nib.load(volume["image"])
            flat = nib.Nifti1Image(np.full(image.shape, 7, np.int16), image.affine)
            volume["image"] = str(tmp_path / f"{index}.nii.gz")
            volume["fingerprint"] += "flat"
            nib.save(flat, volume["image"])

    verdict = check_data(make_case(change_datalist(flatten)), 4)
    assert not verdict.passed
    assert verdict.finding.startswith("images are constant: 100%")


def test_explained_variance_is_what_a_hand_computes() -> None:
    image = np.array([[1.0, 3.0, 5.0, 7.0, 100.0]], dtype=np.float32)
    label = np.array([[1, 1, 2, 2, 0]])
    # Means 2 and 6 around 4: between 4, in all 5.
    assert explained_variance(image, label) == pytest.approx(0.8)
    assert explained_variance(np.ones_like(image), label) == 0.0
    assert explained_variance(image, np.zeros_like(label)) == 0.0


def test_rank_is_one_for_own_labels_half_for_equal_ones_and_none_for_a_single_patient() -> None:
    first, second = np.array([[1, 1, 2, 2]]), np.array([[1, 2, 1, 2]])
    images = [first.astype(np.float32), second.astype(np.float32)]
    assert own_label_rank(images, [first, second], ["a", "b"]) == 1.0
    assert own_label_rank(images, [second, first], ["a", "b"]) == 0.0
    assert own_label_rank(images, [first, first], ["a", "b"]) == 0.5
    assert own_label_rank(images, [first, second], ["a", "a"]) is None
