import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from small_cohort import COARSE, NARROW

from pipelines.training.checks.case import Case
from pipelines.training.checks.sanity import (
    check_data,
    check_initial_loss,
    check_overfit,
    explained_variance,
    own_label_rank,
)


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


def test_expectation_is_the_formula_for_equal_probabilities(
    prepared: Path, make_case: Callable[..., Case]
) -> None:
    # One batch of all slices; the unet has three heads in training, of weights 1, 1/2 and 1/4.
    verdict = check_initial_loss(make_case(prepared, batch_size=6), 2)
    shares = verdict.details["class_shares"]
    assert sum(shares) == pytest.approx(1)
    dice = sum(2 * share / (1 + 4 * share) for share in shares[1:]) / 3
    assert verdict.details["expected"] == pytest.approx(1.75 * (math.log(4) + 1 - dice), rel=1e-4)
    assert verdict.passed
    assert verdict.details["seconds_per_step"] > 0


@pytest.mark.parametrize("network", ["attention_unet", "vnet"])
def test_the_other_networks_guess_as_well(
    network: str, prepared: Path, make_case: Callable[..., Case]
) -> None:
    case = make_case(prepared)
    settings = {**COARSE, **NARROW[network], "batch_size": 2}
    assert check_initial_loss(replace(case, network=network, settings=settings), 1).passed


def test_outputs_that_are_too_large_are_named(prepared: Path, make_case: Callable[..., Case]) -> None:
    loud = "$torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.Conv2d(4, 4, 1))"
    louder = f"{loud}.apply(lambda part: [weight.data.mul_(50) for weight in part.parameters()] and None)"
    verdict = check_initial_loss(make_case(prepared, network_def=louder), 2)
    assert not verdict.passed
    assert "its outputs are too large" in verdict.finding


WIDER = {"network_def::filters": [8, 8, 16, 16, 16], "optimizer": "adamw", "learning_rate": 0.01}


def test_a_handful_is_learnt_by_heart(prepared: Path, make_case: Callable[..., Case]) -> None:
    verdict = check_overfit(make_case(prepared, **WIDER), 150)
    assert verdict.passed, verdict.finding
    assert verdict.figure is not None
    assert verdict.figure <= 0.1 * verdict.details["chance"]


def test_a_rate_that_is_too_high_is_named_with_one_that_works(
    prepared: Path, make_case: Callable[..., Case]
) -> None:
    verdict = check_overfit(make_case(prepared, **WIDER | {"learning_rate": 3.0}), 40)
    assert not verdict.passed
    assert verdict.finding.startswith("the learning rate is too high: with 3 ")
    assert "lower learning_rate" in verdict.finding
