import numpy as np
import pytest

from pipelines.core.volume import Volume
from pipelines.evaluation.uncertainty_maps import entropy, flip_disagreement


def test_entropy_is_one_when_all_is_possible_and_zero_when_sure_or_unseen() -> None:
    probabilities = np.zeros((4, 3), np.float32)
    probabilities[:, 0] = 0.25
    probabilities[2, 1] = 1
    assert entropy(probabilities) == pytest.approx([1, 0, 0], abs=1e-6)


def test_entropy_of_two_equal_classes_of_four_is_a_half() -> None:
    assert entropy(np.array([[0.5], [0.5], [0], [0]], np.float32)) == pytest.approx([0.5])


class ByIntensity:
    """Class 1 where the image is bright: the same in every mirror image."""

    def probabilities(self, volume: Volume) -> np.ndarray:
        bright = (volume.array > 0).astype(np.float32)
        return np.stack([1 - bright, bright, 0 * bright, 0 * bright])


class ByPlace:
    """Class 1 at low first indices, whatever the image: a mirror image changes the answer."""

    def probabilities(self, volume: Volume) -> np.ndarray:
        left = np.zeros(volume.array.shape, np.float32)
        left[:2] = 1
        return np.stack([1 - left, left, 0 * left, 0 * left])


def volume() -> Volume:
    image = np.random.default_rng(0).normal(size=(8, 6, 3)).astype(np.float32)
    return Volume(image, np.eye(4), (1.0, 1.0, 10.0))


def test_a_network_that_sees_the_same_in_mirror_images_does_not_disagree() -> None:
    assert not flip_disagreement(ByIntensity(), volume()).any()


def test_half_of_the_flips_disagree_where_the_answer_hangs_on_the_place() -> None:
    found = flip_disagreement(ByPlace(), volume())
    assert np.array_equal(np.unique(found[[0, 1, 6, 7]]), [0.5])
    assert not found[2:6].any()
