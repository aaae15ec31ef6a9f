from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import write_csv
from pipelines.core.progress import progress_to
from pipelines.core.records import FOREGROUND
from pipelines.core.volume import Volume, read_label, write_image, write_label
from pipelines.models.heart import Prediction
from pipelines.quality.measure import (
    CLEAN,
    KINDS,
    MILD,
    SEVERE,
    degrade,
    draw_fault,
    measure_images,
    read_measured,
)
from pipelines.quality.model import LinearModel, QualityEstimator, QualityModel, QualityModels, write_quality

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


AFFINE = np.diag([1.5, 1.5, 10.0, 1.0])


@dataclass
class BrightnessPredictor:
    """Intensities of about 100, 200 and 300 are RV, myocardium and LV."""

    certainty: float = 0.9
    seen: frozenset[str] | None = None

    def predict(self, volume: Volume) -> Prediction:
        mask = np.clip(np.round(volume.array / 100), 0, 3).astype(np.uint8)
        return Prediction(mask, {}, dict.fromkeys(FOREGROUND, self.certainty))


def labels() -> np.ndarray:
    label = np.zeros((40, 36, 5), np.uint8)
    label[4:12, 12:24, 1:4] = 1
    label[14:30, 10:26, 1:4] = 2
    label[18:26, 14:22, 1:4] = 3
    return label


def item(folder: Path, label: np.ndarray) -> dict[str, Any]:
    image = Volume(0.25 + 100 * labels().astype(np.float32), AFFINE, (1.5, 1.5, 10.0))
    write_image(folder / "image.nii.gz", image)
    write_label(folder / "label.nii.gz", label, AFFINE)
    paths = {"image": str(folder / "image.nii.gz"), "label": str(folder / "label.nii.gz")}
    return paths | {"patient": "patient001", "group": "NOR", "phase": "ED", "content_hash": "aa"}


def test_each_volume_is_measured_as_it_is_and_with_faults(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    masks = tmp_path / "masks"
    masks.mkdir()
    with progress_to(lambda done, total, name: told.append((done, total))):
        found = measure_images(
            [item(tmp_path, labels())],
            BrightnessPredictor(),  # type: ignore[arg-type]
            BrightnessPredictor(),  # type: ignore[arg-type]
            faults=2,
            masks=masks,
        )
    assert [image.is_clean for image in found] == [True, False, False]
    assert found[0].dice == {"rv": 1.0, "myo": 1.0, "lv": 1.0, "mean": 1.0}
    assert found[0].features["partner_lv"] == 1.0
    assert told == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(read_label(masks / "image.nii.gz").array, labels())
    rows = [image.as_row() for image in found]
    write_csv(tmp_path / "images.csv", rows[0], rows)
    assert read_measured(tmp_path / "images.csv") == found


def test_a_patient_that_a_network_was_trained_on_is_left_out_at_both_phases(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    systole = item(tmp_path, labels()) | {"phase": "ES", "content_hash": "bb"}
    other = systole | {"patient": "patient002", "content_hash": "cc"}
    items = [item(tmp_path, labels()), systole, other]
    network, partner = BrightnessPredictor(seen=frozenset({"aa"})), BrightnessPredictor()
    found = measure_images(items, network, partner, faults=0)  # type: ignore[arg-type]
    assert [image.patient for image in found] == ["patient002"]
    assert "It is not known which images these weights were trained on" in caplog.text  # of the partner's
    partner.seen = frozenset({"cc"})
    with pytest.raises(DataError, match="found 2 that they were; take others by --weights"):
        measure_images(items, network, partner, faults=0)  # type: ignore[arg-type]


def test_a_label_without_a_structure_is_refused(tmp_path: Path) -> None:
    label = labels()
    image = item(tmp_path, label)
    label[label == 1] = 0
    write_label(tmp_path / "label.nii.gz", label, AFFINE)
    empty = BrightnessPredictor()
    empty.predict = lambda volume: Prediction(label, {}, dict.fromkeys(FOREGROUND, 0.5))  # type: ignore[method-assign]
    with pytest.raises(DataError, match="without one; check it with 'thorax prepare'"):
        measure_images([image], empty, faults=0)  # type: ignore[arg-type]


def test_a_table_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "images.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    with pytest.raises(DataError, match="expected a table of measured images"):
        read_measured(tmp_path / "images.csv")


def models(*, thorough: bool = True) -> QualityModels:
    linear = LinearModel(weights=(1.0,), intercept=0.0)
    structures = dict.fromkeys(("rv", "myo", "lv"), linear)
    return QualityModels(
        QualityModel(("certainty",), structures, 0.85),
        QualityModel(("partner",), structures, 0.85) if thorough else None,
        "unet",
    )


def volume() -> Volume:
    return Volume(0.25 + 100 * labels().astype(np.float32), AFFINE, (1.5, 1.5, 10.0))


def test_the_quick_judge_takes_the_certainty_and_the_thorough_one_the_partner() -> None:
    prediction = BrightnessPredictor(certainty=0.5).predict(volume())
    quick = QualityEstimator(models())
    assert quick.estimate(volume(), prediction)["mean"] == pytest.approx(0.5)
    thorough = QualityEstimator(models(), BrightnessPredictor())
    assert thorough.estimate(volume(), prediction)["mean"] == pytest.approx(0.99)  # the largest share


def test_a_low_score_is_a_warning_that_says_what_to_do() -> None:
    estimator = QualityEstimator(models())
    assert estimator.warning({"mean": 0.85}) is None
    warning = estimator.warning({"mean": 0.604})
    assert warning == "predicted Dice of 0.60 is low (below 0.85), look at the mask before using its figures"


def test_a_second_network_without_a_model_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--partner"):
        QualityEstimator(models(thorough=False), BrightnessPredictor())
    write_quality(tmp_path / "quality.json", models(thorough=False))
    weights = tmp_path / "model.pt"
    assert QualityEstimator.load("unet", weights=weights) is not None
    with pytest.raises(ConfigError, match="fit it again with --partner"):
        QualityEstimator.load("unet", weights=weights, thorough=True)


def test_weights_without_a_score_have_no_judge_and_say_so_when_one_is_asked_for(tmp_path: Path) -> None:
    assert QualityEstimator.load("unet", weights=tmp_path / "model.pt") is None
    with pytest.raises(ConfigError, match="found none; make it with 'thorax quality fit'"):
        QualityEstimator.load("unet", weights=tmp_path / "model.pt", thorough=True)
