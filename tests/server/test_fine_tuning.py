"""Training on the accepted labels of a studies folder: one process, one network, few batches."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from labelled_studies import write_labelled_studies

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import only_one
from pipelines.core.volume import read_volume
from pipelines.server import fine_tuning
from pipelines.server.fine_tuning import fine_tune
from pipelines.server.predictors import Predictors
from pipelines.server.published import PublishedWeights

from .conftest import VERSION


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Lets a training hand back what it began with, and gives weights the Dice it is told, one by one."""

    def prepare(means: list[float]) -> None:
        def train(network: str, data: Path, run: Path, *, initial_weights: str, **rest: Any) -> Path:
            rest["on_epoch"](
                1, {"val_mean_dice": 0.5, "val_dice_rv": 0.4, "val_dice_myo": 0.5, "val_dice_lv": 0.6}
            )
            return Path(initial_weights)

        monkeypatch.setattr(fine_tuning, "train_network", train)
        scores = iter(means)

        def score(predictor: object, items: object) -> dict[str, float]:
            value = next(scores)
            return dict.fromkeys(("rv", "myo", "lv", "mean"), value)

        monkeypatch.setattr(fine_tuning, "mean_dice", score)

    return prepare


def test_better_weights_are_published_and_worse_ones_are_not(
    tmp_path: Path, untrained: Callable[[list[float]], None]
) -> None:
    studies = write_labelled_studies(tmp_path / "studies")
    untrained([0.8, 0.9, 0.9, 0.9, 0.9, 0.5])
    published = PublishedWeights(studies)
    predictors = Predictors(("unet",), published=published)
    volume = read_volume(next(studies.rglob("patient001_frame01.nii.gz")))
    predictors.predict("unet", volume)
    assert predictors.version_of("unet") == VERSION
    first = fine_tune(studies, "unet", epochs=1)
    assert (first.version, published.current("unet")) == (1, 1)
    record = published.versions("unet")[0]
    assert (record["from"], record["dice_before"]["mean"], record["dice"]["lv"]) == (0, 0.8, 0.9)
    # A running server takes them with the next request, and says so.
    assert (predictors.version_of("unet"), predictors.latest("unet")) == (VERSION, f"{VERSION}+unet.1")
    predictors.predict("unet", volume)
    assert predictors.version_of("unet") == f"{VERSION}+unet.1"
    torch.load(published.path("unet", 1), weights_only=True)
    for _ in ("as good", "worse"):
        again = fine_tune(studies, "unet", epochs=1)
        assert (again.version, published.current("unet")) == (None, 1)
        assert again.patients == first.patients
    status = json.loads(
        (studies / ".thorax" / "training" / "unet" / "status.json").read_text(encoding="utf-8")
    )
    assert (status["epoch"], status["total_epochs"], status["published"]) == (1, 1, None)
    assert (status["dice_before"]["mean"], status["dice"]["mean"], status["best_metric"]) == (0.9, 0.5, 0.9)
    published.restore("unet")
    predictors.predict("unet", volume)
    assert predictors.version_of("unet") == VERSION


def test_one_labelled_patient_or_a_second_training_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="at least 2 patients"):
        fine_tune(write_labelled_studies(tmp_path / "one", patients=1), "unet")
    studies = write_labelled_studies(tmp_path / "two")
    work = studies / ".thorax" / "training"
    work.mkdir(parents=True)
    with (
        only_one(work / "running", "training of this folder"),
        pytest.raises(ConfigError, match="expected no other training of this folder"),
    ):
        fine_tune(studies, "unet")


@pytest.mark.parametrize("wrong", [{"epochs": 0}, {"epochs": 201}, {"batch_size": 0}, {"batch_size": 33}])
def test_a_value_out_of_bounds_is_refused(tmp_path: Path, wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="expected a number of"):
        fine_tune(tmp_path, "unet", **wrong)


@pytest.mark.slow
def test_a_real_training_tells_dice_before_and_after_and_leaves_no_data_behind(tmp_path: Path) -> None:
    studies = write_labelled_studies(tmp_path / "studies")
    found = fine_tune(studies, "unet", epochs=1)
    assert 0 < (found.before["mean"] or 0) <= 1
    assert 0 < (found.after["mean"] or 0) <= 1
    better = (found.after["mean"] or 0) > (found.before["mean"] or 0)
    assert PublishedWeights(studies).current("unet") == (1 if better else 0)
    job = studies / ".thorax" / "training" / "unet"
    assert sorted(path.name for path in job.iterdir()) == ["datalist.json", "status.json"]
