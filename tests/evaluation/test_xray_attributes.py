import numpy as np
import pytest
from scipy import ndimage

from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.evaluation.xray_attributes import measure_attributes


@pytest.fixture(scope="module")
def upright() -> np.ndarray:
    """A chest that is its own mirror image."""
    image = phantom_xray(np.random.default_rng(1))
    return (image + image[:, ::-1]) / 2


def test_exposure_and_shape_are_plain_figures() -> None:
    image = np.zeros((50, 100), np.float32)
    image[10:, :] = 0.5
    image[10:20, :10] = 1.0
    found = measure_attributes(image)
    assert found["brightness"] == pytest.approx(image.mean())
    assert found["contrast"] == pytest.approx(image.std())
    assert found["aspect"] == 2
    assert found["border"] == pytest.approx(0.2)
    assert found["white"] == pytest.approx(100 / 5000)


def test_a_blurred_image_is_less_sharp(upright: np.ndarray) -> None:
    blurred = ndimage.gaussian_filter(upright, 3)
    assert measure_attributes(blurred)["sharpness"] < 0.5 * measure_attributes(upright)["sharpness"]


@pytest.mark.parametrize("tilt", [-8, 0, 8])
def test_the_turn_of_the_body_is_found(upright: np.ndarray, tilt: int) -> None:
    turned = ndimage.rotate(upright, -tilt, reshape=False, order=1, mode="nearest")
    found = measure_attributes(turned)
    assert found["tilt_deg"] == pytest.approx(tilt, abs=2)
    assert abs(found["shift"]) < 0.05


def test_the_shift_of_the_body_is_found(upright: np.ndarray) -> None:
    found = measure_attributes(np.roll(upright, 20, axis=1))
    assert found["shift"] == pytest.approx(20 / 224, abs=0.02)


def test_unlike_sides_are_told_from_like_ones(upright: np.ndarray) -> None:
    one_sided = upright.copy()
    one_sided[:, 112:] = 0.9
    assert measure_attributes(upright)["asymmetry"] < 0.05
    assert measure_attributes(one_sided)["asymmetry"] > 0.3


def test_an_image_without_any_contrast_has_finite_figures() -> None:
    found = measure_attributes(np.full((64, 64), 0.5, np.float32))
    assert all(np.isfinite(value) for value in found.values())
