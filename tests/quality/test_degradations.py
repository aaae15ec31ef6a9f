import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.volume import Volume
from pipelines.quality.degradations import CLEAN, KINDS, MILD, SEVERE, degrade, draw_fault

SPACING = (1.5, 1.5, 10.0)


def pair() -> tuple[Volume, Volume]:
    rng = np.random.default_rng(0)
    label = np.zeros((48, 40, 5), np.uint8)
    label[16:30, 14:26, 1:4] = 3
    image = (200.0 + 300.0 * (label > 0) + rng.normal(0, 10, label.shape)).astype(np.float32)
    affine = np.diag([*SPACING, 1.0])
    return Volume(image, affine, SPACING), Volume(label, affine, SPACING)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_changes_the_image_and_is_the_same_again_with_its_seed(kind: str) -> None:
    image, label = pair()
    found, truth = degrade(image, label, kind, 0.8, seed=3)
    again, _ = degrade(image, label, kind, 0.8, seed=3)
    assert found.array.shape == image.array.shape
    assert np.isfinite(found.array).all()
    np.testing.assert_array_equal(found.array, again.array)
    scaled = np.corrcoef(found.array.ravel(), image.array.ravel())[0, 1]
    assert scaled < 0.999
    assert kind == "moved slices" or np.array_equal(truth.array, label.array)


def test_moved_slices_take_their_labels_along() -> None:
    image, label = pair()
    found, truth = degrade(image, label, "moved slices", 1.0, seed=1)
    assert not np.array_equal(truth.array, label.array)
    assert truth.array.sum() == label.array.sum()
    assert found.array[truth.array > 0].min() > found.array[truth.array == 0].max()


def test_lost_slices_have_no_signal() -> None:
    image, label = pair()
    found, _ = degrade(image, label, "lost slices", 1.0, seed=1)
    assert sum(bool(np.ptp(found.array[:, :, z]) == 0) for z in range(5)) == 3


def test_the_image_as_it_is_stays_as_it_is() -> None:
    image, label = pair()
    assert degrade(image, label, CLEAN, 0.0, seed=0) == (image, label)


def test_an_unknown_fault_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigError, match=r"expected a fault among noise, blur.*found 'rust'"):
        degrade(*pair(), "rust", 0.5, seed=0)


def test_all_kinds_are_drawn_within_the_range_of_strength() -> None:
    generator = np.random.default_rng(0)
    drawn = [draw_fault(generator) for _ in range(200)]
    assert {kind for kind, _ in drawn} == set(KINDS)
    assert all(MILD <= strength <= SEVERE for _, strength in drawn)
