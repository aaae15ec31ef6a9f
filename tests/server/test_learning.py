import fcntl
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from labelled_studies import write_labelled_studies

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import exclusive_lock
from pipelines.core.volume import read_volume
from pipelines.datasets.prepare import read_datalist, select
from pipelines.server import learning
from pipelines.server import learning as module
from pipelines.server.history import LabelStore
from pipelines.server.images import StudyImages
from pipelines.server.learning import Trainings, divide, fine_tune, labelled_patients, write_training_data
from pipelines.server.predictors import Predictors, PublishedWeights

from .conftest import VERSION, heart, true_mask, until, write_nifti


def accept_all(studies: Path) -> tuple[StudyImages, LabelStore]:
    images, labels = StudyImages(studies, lambda cine: (0, 1)), LabelStore(studies)
    images.scan()
    for image in images.all():
        volume = read_volume(image.path)
        labels.accept(image.id, true_mask(volume.array), volume, author="anna")
    return images, labels


def test_labels_of_one_patient_are_too_few(studies: Path) -> None:
    (studies / "lone.nii.gz").unlink()
    with pytest.raises(DataError, match="at least 2 patients, .*found 1; label another patient first"):
        labelled_patients(*(part if index else part.all() for index, part in enumerate(accept_all(studies))))


def test_labels_that_cannot_be_a_heart_are_not_learned_from(studies: Path) -> None:
    images, labels = accept_all(studies)
    lone = read_volume(studies / "lone.nii.gz")
    labels.accept("lone", np.full(lone.array.shape, 3, np.uint8), lone, author="ben")
    with pytest.raises(DataError, match="found 1 beside 1 labels that cannot be a heart"):
        labelled_patients(images.all(), labels)


def test_a_patient_keeps_its_side_whoever_comes_later(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    first = divide(["anna", "ben"], path)
    assert sorted(first.values()) == ["training", "validation"]
    many = divide([*"abcdefghijklmnopqr", "anna", "ben"], path)
    assert {name: many[name] for name in first} == first
    assert list(many.values()).count("validation") == 4


def test_patients_that_are_all_on_one_side_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "split.json"
    sides = divide([f"patient{number}" for number in range(10)], path)
    learned = [name for name, side in sides.items() if side == "training"]
    with pytest.raises(DataError, match="found all on the side of training"):
        divide(learned, path)


def test_both_phases_of_a_patient_are_on_one_side_with_slices_last(studies: Path, tmp_path: Path) -> None:
    turned = np.moveaxis(heart(4.0), 2, 0)
    write_nifti(
        studies / "lone.nii.gz", turned, np.array([[0, 2, 0, 0], [0, 0, 2, 0], [8, 0, 0, 0], [0, 0, 0, 1.0]])
    )
    images, labels = accept_all(studies)
    patients = labelled_patients(images.all(), labels)
    sides = divide(patients, tmp_path / "split.json")
    write_training_data(patients, sides, labels, tmp_path / "job")
    datalist = read_datalist(tmp_path / "job")
    by_side = {name: select(datalist, name, 0) for name in ("training", "validation")}
    found = {name: {item["patient"] for item in items} for name, items in by_side.items()}
    assert found["training"] | found["validation"] == {"patient001", "lone"}
    assert not found["training"] & found["validation"]
    assert sorted(len(items) for items in by_side.values()) == [1, 2]
    for item in (*by_side["training"], *by_side["validation"]):
        image, label = nib.load(item["image"]), nib.load(item["label"])
        assert image.shape == label.shape == (24, 20, 5)
        np.testing.assert_array_equal(true_mask(image.get_fdata()), np.asarray(label.dataobj))
        np.testing.assert_allclose(image.affine, label.affine)


@pytest.fixture
def untrained(monkeypatch: pytest.MonkeyPatch) -> Callable[[list[float]], None]:
    """Lets a training hand back what it began with, and gives weights the Dice it is told, one by one."""

    def prepare(means: list[float]) -> None:
        def train(network: str, data: Path, run: Path, *, initial_weights: str, **rest: Any) -> Path:
            rest["on_epoch"](
                1, {"val_mean_dice": 0.5, "val_dice_rv": 0.4, "val_dice_myo": 0.5, "val_dice_lv": 0.6}
            )
            return Path(initial_weights)

        monkeypatch.setattr(learning, "train_network", train)
        scores = iter(means)

        def score(predictor: object, items: object) -> dict[str, float]:
            value = next(scores)
            return dict.fromkeys(("rv", "myo", "lv", "mean"), value)

        monkeypatch.setattr(learning, "mean_dice", score)

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
        exclusive_lock(work / "running", "training of this folder"),
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


SLEEP = (
    "from pipelines.server.server_watch import end_with_server; end_with_server(); "
    "import time; time.sleep(60)"
)


def test_a_training_ends_when_its_server_is_killed(tmp_path: Path) -> None:
    starter = (
        "import subprocess, sys, time\n"
        f"child = subprocess.Popen([sys.executable, '-c', {SLEEP!r}], stdin=subprocess.PIPE)\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(60)"
    )
    with subprocess.Popen([sys.executable, "-c", starter], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        pid = int(server.stdout.readline())
        assert is_alive(pid)
        server.kill()
    until(lambda: not is_alive(pid))


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that ended and was not waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_the_command_of_a_training_watches_its_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "COMMAND", (sys.executable, "-c", SLEEP))
    trainings = Trainings(tmp_path, ("unet",))
    assert trainings.start("unet", epochs=1, batch_size=1) is not None
    process = trainings._process
    assert process is not None
    assert process.stdin is not None
    assert trainings.is_running
    process.stdin.close()  # as the system does when the server is gone
    assert process.wait(20) == 1


def test_a_training_of_another_server_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / ".thorax" / "training"
    folder.mkdir(parents=True)
    (folder / "training.log").write_text("epoch 3", encoding="utf-8")
    with (folder / "running").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Trainings(tmp_path, ("unet",)).start("unet", epochs=1, batch_size=1) is None
    assert (folder / "training.log").read_text(encoding="utf-8") == "epoch 3"
