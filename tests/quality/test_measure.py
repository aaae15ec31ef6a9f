from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import write_csv
from pipelines.core.labels import FOREGROUND
from pipelines.core.volume import Volume, read_label, write_image, write_label
from pipelines.models.predictor import Prediction
from pipelines.quality.judge import Judge
from pipelines.quality.measure import measure_images, read_measured
from pipelines.quality.model import LinearModel, QualityModel, QualityModels, write_quality

AFFINE = np.diag([1.5, 1.5, 10.0, 1.0])


@dataclass
class BrightnessPredictor:
    """Intensities of about 100, 200 and 300 are RV, myocardium and LV."""

    certainty: float = 0.9

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
    image = Volume(100 * labels().astype(np.float32), AFFINE, (1.5, 1.5, 10.0))
    write_image(folder / "image.nii.gz", image)
    write_label(folder / "label.nii.gz", label, AFFINE)
    paths = {"image": str(folder / "image.nii.gz"), "label": str(folder / "label.nii.gz")}
    return paths | {"patient": "patient001", "group": "NOR", "phase": "ED"}


def test_each_volume_is_measured_as_it_is_and_with_faults(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    masks = tmp_path / "masks"
    masks.mkdir()
    found = measure_images(
        [item(tmp_path, labels())],
        BrightnessPredictor(),  # type: ignore[arg-type]
        BrightnessPredictor(),  # type: ignore[arg-type]
        faults=2,
        masks=masks,
        progress=lambda done, total, name: told.append((done, total)),
    )
    assert [image.is_clean for image in found] == [True, False, False]
    assert found[0].dice == {"rv": 1.0, "myo": 1.0, "lv": 1.0, "mean": 1.0}
    assert found[0].features["partner_lv"] == 1.0
    assert told == [(1, 3), (2, 3), (3, 3)]
    np.testing.assert_array_equal(read_label(masks / "image.nii.gz").array, labels())
    rows = [image.as_row() for image in found]
    write_csv(tmp_path / "images.csv", rows[0], rows)
    assert read_measured(tmp_path / "images.csv") == found


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
    linear = LinearModel(mean=(0.0,), scale=(1.0,), weights=(1.0,), intercept=0.0)
    structures = dict.fromkeys(("rv", "myo", "lv"), linear)
    return QualityModels(
        QualityModel(("certainty",), False, structures, 0.85),
        QualityModel(("partner",), False, structures, 0.85) if thorough else None,
        "unet",
    )


def volume() -> Volume:
    return Volume(100 * labels().astype(np.float32), AFFINE, (1.5, 1.5, 10.0))


def test_the_quick_judge_takes_the_certainty_and_the_thorough_one_the_partner() -> None:
    prediction = BrightnessPredictor(certainty=0.5).predict(volume())
    quick = Judge(models())
    assert quick.judge(volume(), prediction)["mean"] == pytest.approx(0.5)
    thorough = Judge(models(), BrightnessPredictor())
    assert thorough.judge(volume(), prediction)["mean"] == pytest.approx(1.0)


def test_a_low_score_is_a_warning_that_says_what_to_do() -> None:
    judge = Judge(models())
    assert judge.warning({"mean": 0.85}) is None
    warning = judge.warning({"mean": 0.604})
    assert warning == "predicted Dice of 0.60 is low (below 0.85), look at the mask before using its figures"


def test_a_second_network_without_a_model_for_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--partner"):
        Judge(models(thorough=False), BrightnessPredictor())
    write_quality(tmp_path / "quality.json", models(thorough=False))
    weights = tmp_path / "model.pt"
    assert Judge.load("unet", weights=weights) is not None
    with pytest.raises(ConfigError, match="fit it again with --partner"):
        Judge.load("unet", weights=weights, thorough=True)


def test_weights_without_a_score_have_no_judge_and_say_so_when_one_is_asked_for(tmp_path: Path) -> None:
    assert Judge.load("unet", weights=tmp_path / "model.pt") is None
    with pytest.raises(ConfigError, match="found none; make it with 'thorax quality fit'"):
        Judge.load("unet", weights=tmp_path / "model.pt", thorough=True)
