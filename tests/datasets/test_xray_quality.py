import numpy as np
import pytest

from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.datasets.xray_image import (
    CHEST,
    MIN_LIKENESS,
    XrayImage,
    chest_doubts,
    chest_likeness,
    quality_warnings,
)


def chest(seed: int = 99) -> np.ndarray:
    return phantom_xray(np.random.default_rng(seed))


def warnings_of(pixels: np.ndarray, colourfulness: float = 0.0) -> str:
    return "; ".join(quality_warnings(XrayImage(pixels.astype(np.float32), "L", colourfulness)))


def test_a_chest_has_no_warning() -> None:
    assert warnings_of(chest()) == ""


@pytest.mark.parametrize(
    ("pixels", "colourfulness", "words"),
    [
        (chest(), 0.2, "in colour"),
        (chest()[::3, ::3], 0.0, "small"),
        (np.tile(chest(), (1, 3)), 0.0, "not a frontal chest"),
        (np.tile(chest(), (2, 1)), 0.0, "not a frontal chest"),
        (chest() > chest().mean(), 0.0, "it has 2 grey values, of at least 16"),
        (chest() * 0.2, 0.0, "too dark"),
        (0.9 + chest() * 0.1, 0.0, "too bright"),
        (0.5 + chest() * 0.1, 0.0, "hardly any contrast"),
        (1 - chest(), 0.0, "hardly looks like a chest"),
        (np.random.default_rng(0).random((224, 224)), 0.0, "hardly looks like a chest"),
        (chest()[::-1, ::-1], 0.0, "turned"),
        (chest()[::-1], 0.0, "turned"),
        (np.rot90(chest()), 0.0, "turned"),
        (np.rot90(chest(), 3), 0.0, "turned"),
        (np.pad(chest()[::2, ::2], 60, constant_values=1), 0.0, "a photograph"),
    ],
)
def test_each_fault_is_reported(pixels: np.ndarray, colourfulness: float, words: str) -> None:
    assert words in warnings_of(pixels, colourfulness)


def test_what_the_file_says_of_itself_is_reported() -> None:
    image = XrayImage(chest(), "DICOM", 0.0, ("its view is LL: not a frontal chest radiograph?",))
    assert quality_warnings(image) == ["no verdict: its view is LL: not a frontal chest radiograph?"]


def test_only_what_is_no_frontal_chest_film_speaks_against_a_class() -> None:
    def doubted(pixels: np.ndarray, mode: str = "L", *doubts: str) -> bool:
        return bool(chest_doubts(XrayImage(pixels.astype(np.float32), mode, 0.2, doubts)))

    assert not doubted(chest()[::3, ::3] * 0.3)  # small, dark and in colour, but a chest
    assert not doubted(chest(), "RGB", "it was taken by a camera")
    assert doubted(chest(), "DICOM", "its view is LL: not a frontal chest radiograph?")
    assert doubted(np.random.default_rng(0).random((224, 224)))
    assert doubted(np.tile(chest(), (1, 3)))


def test_likeness_is_a_correlation() -> None:
    drawn = np.kron(CHEST, np.ones((10, 12), np.float32))
    assert chest_likeness(drawn) == pytest.approx(1, abs=1e-5)
    assert chest_likeness(chest()) > MIN_LIKENESS
    assert chest_likeness(1 - chest()) == pytest.approx(-chest_likeness(chest()), abs=1e-5)
    assert chest_likeness(np.full((50, 50), 0.5, np.float32)) == 0


@pytest.mark.parametrize("seed", range(5))
def test_an_upright_chest_is_liker_than_any_turn(seed: int) -> None:
    turns = [chest_likeness(np.rot90(chest(seed), turns)) for turns in range(4)]
    assert max(turns) == turns[0]
