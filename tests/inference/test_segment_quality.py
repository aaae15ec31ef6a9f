"""Segmentation tells how good its masks are thought to be."""

from pathlib import Path

import numpy as np
from intensity_hearts import FakePrediction, IntensityPredictor, acdc_patient, heart, rows, save

from pipelines.core.volume import Volume
from pipelines.inference.segment import segment


class Strict:
    """Finds the second of two masks worse, and that one bad."""

    def __init__(self) -> None:
        self.scores = iter((0.9, 0.6))

    def estimate(self, volume: Volume, prediction: FakePrediction) -> dict[str, float]:
        assert volume.array.shape == prediction.mask.shape
        return dict.fromkeys(("rv", "myo", "lv", "mean"), next(self.scores))

    def warning(self, quality: dict[str, float]) -> str | None:
        return "look at it" if quality["mean"] < 0.8 else None


def test_the_worse_of_the_predicted_dice_is_in_the_table_and_a_low_one_among_the_warnings(
    tmp_path: Path,
) -> None:
    cine = np.stack([heart(radius) for radius in (6, 8, 6, 5, 6)], axis=3)
    path = save(tmp_path / "anna.nii.gz", cine)
    segment([path], tmp_path / "out", IntensityPredictor(), estimator=Strict())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert [row[f"predicted_dice_{name}"] for name in ("rv", "myo", "lv", "mean")] == ["0.6"] * 4
    assert row["warnings"].endswith("; ES: look at it")
    assert "ED: look at it" not in row["warnings"]


def test_without_a_judge_the_predicted_dice_is_empty(tmp_path: Path) -> None:
    segment([acdc_patient(tmp_path / "in" / "patient003")], tmp_path / "out", IntensityPredictor())
    (row,) = rows(tmp_path / "out" / "indices.csv")
    assert row["predicted_dice_mean"] == ""
