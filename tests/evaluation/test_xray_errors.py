from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.evaluation.xray_errors import analyse_errors, measure_attributes


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


def test_unlike_sides_are_distinguished_from_like_ones(upright: np.ndarray) -> None:
    one_sided = upright.copy()
    one_sided[:, 112:] = 0.9
    assert measure_attributes(upright)["asymmetry"] < 0.05
    assert measure_attributes(one_sided)["asymmetry"] > 0.3


def test_an_image_without_any_contrast_has_finite_figures() -> None:
    found = measure_attributes(np.full((64, 64), 0.5, np.float32))
    assert all(np.isfinite(value) for value in found.values())


def case(folder: Path, index: int, *, dark: bool, correct: bool) -> dict[str, Any]:
    path = folder / f"{index:03d}.png"
    image = phantom_xray(np.random.default_rng(index), side_px=64)
    Image.fromarray((255 * image * (0.2 if dark else 1.0)).astype(np.uint8)).save(path)
    healthy = index % 2 == 0
    return {
        "image": str(path),
        "patient": f"p{index // 4}" if not healthy else f"h{index}",
        "finding": "NORMAL" if healthy else "PNEUMONIA",
        "agent": "" if healthy else "virus",
        "probability": (0.1 if healthy else 0.8) if correct else (0.95 if healthy else 0.3),
        "is_correct": correct,
    }


@pytest.fixture
def cases(tmp_path: Path) -> list[dict[str, Any]]:
    """Sixty images; six are dark, and five of those are wrong, and one other."""
    dark = {0, 11, 20, 31, 40, 51}
    wrong = {0, 11, 20, 31, 40, 7}
    return [case(tmp_path, index, dark=index in dark, correct=index not in wrong) for index in range(60)]


def test_what_goes_with_errors_has_counts_rates_and_an_interval(cases: list[dict[str, Any]]) -> None:
    found = analyse_errors(cases)
    dark = next(kind for kind in found.types if kind.name == "dark")
    assert (dark.images, dark.errors) == (6, 5)
    assert dark.share_of_errors == pytest.approx(5 / 6)
    assert dark.error_rate == pytest.approx(5 / 6)
    assert dark.other_rate == pytest.approx(1 / 54)
    assert dark.interval is not None
    assert 0.3 < dark.interval[0] < 5 / 6 - 1 / 54 < dark.interval[1] <= 1
    assert dark.p_value is not None
    assert dark.p_value < 1e-4


def test_what_has_nothing_to_do_with_errors_has_zero_in_its_interval(cases: list[dict[str, Any]]) -> None:
    kind = next(kind for kind in analyse_errors(cases).types if kind.name == "viral pneumonia")
    assert (kind.images, kind.errors) == (30, 3)
    assert kind.interval is not None
    assert kind.interval[0] < 0 < kind.interval[1]
    assert kind.p_value is not None
    assert kind.p_value > 0.5


def test_wrong_images_come_the_most_certain_first(cases: list[dict[str, Any]]) -> None:
    found = analyse_errors(cases)
    assert len(found.wrong) == 6
    assert [item["probability"] for item in found.wrong] == [0.95, 0.95, 0.95, 0.3, 0.3, 0.3]
    doubt = next(kind for kind in found.types if kind.name.startswith("label in doubt"))
    assert (doubt.images, doubt.errors) == (3, 3)
    assert (doubt.interval, doubt.p_value) == (None, None)
    assert doubt.example in {item["image"] for item in found.wrong[:3]}


def test_each_image_tells_what_was_seen(cases: list[dict[str, Any]]) -> None:
    found = analyse_errors(cases)
    assert "dark" in found.cases[0]["seen"]
    assert "healthy" in found.cases[0]["seen"]
    assert set(found.as_dict()) == {"types", "cases"}


def test_without_errors_there_is_a_table_all_the_same(cases: list[dict[str, Any]]) -> None:
    found = analyse_errors([item for item in cases if item["is_correct"]])
    assert found.wrong == []
    assert {kind.errors for kind in found.types} == {0}


def test_an_image_that_is_gone_is_reported(cases: list[dict[str, Any]]) -> None:
    Path(cases[3]["image"]).unlink()
    with pytest.raises(DataError, match=r"003\.png"):
        analyse_errors(cases)
