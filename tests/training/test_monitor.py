import csv
from pathlib import Path

import pytest
import torch
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.training.handlers import TrainingMonitor, VolumePictures


def case(right: bool) -> dict[str, torch.Tensor]:
    """A volume of two slices whose LV is found or missed; the network's grid is coarser than the label's."""
    label = torch.zeros(4, 8, 6, 2)
    label[0] = 1
    label[0, 2:4, 2:4, 1], label[3, 2:4, 2:4, 1] = 0, 1
    prediction = label if right else label.flip(1)
    return {"image": torch.rand(3, 4, 4, 2), "label": label, "pred": prediction}


def run(folder: Path, epochs: int, *, first: int = 0, losses: tuple[float, ...] = (1.0, 3.0)) -> None:
    """Train with the given losses in each epoch; validation every second epoch has a Dice of epoch / 10."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.5)
    evaluator = Engine(lambda engine, batch: [case(right=batch > 0)])
    trainer = Engine(lambda engine, batch: {"loss": torch.tensor(batch)})

    def score(engine: Engine) -> None:
        engine.state.metrics = {"val_mean_dice": trainer.state.epoch / 10, "curve": [1, 2]}

    evaluator.add_event_handler(Events.EPOCH_COMPLETED, score)
    trainer.add_event_handler(Events.EPOCH_COMPLETED(every=2), lambda _: evaluator.run([0, 1, 2]))
    pictures = VolumePictures(evaluator)
    TrainingMonitor(folder, evaluator=evaluator, optimizer=optimizer, pictures=pictures).attach(trainer)
    # As a checkpoint does: it is attached last, and so loads the epoch last.
    trainer.add_event_handler(Events.STARTED, lambda engine: setattr(engine.state, "epoch", first))
    trainer.run(losses, max_epochs=epochs)


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_epoch_is_a_row_with_its_mean_loss(tmp_path: Path) -> None:
    run(tmp_path, 2)
    first, second = history(tmp_path)
    assert first == {
        "epoch": "1",
        "iteration": "2",
        "train_loss": "2.0",
        "learning_rate": "0.5",
        "val_mean_dice": "",
    }
    assert (second["epoch"], second["val_mean_dice"]) == ("2", "0.2")


def test_each_epoch_is_a_line_of_the_log_and_a_resumed_run_adds_its_own(tmp_path: Path) -> None:
    run(tmp_path, 2)
    run(tmp_path, 3, first=2)
    lines = (tmp_path / "training.log").read_text(encoding="utf-8").splitlines()
    assert [line.split(" ", 2)[2].split(" (")[0] for line in lines] == [
        "epoch 1 of 2",
        "epoch 2 of 2",
        "epoch 3 of 3",
    ]


def test_a_resumed_run_keeps_the_rows_before_and_replaces_those_after(tmp_path: Path) -> None:
    run(tmp_path, 3)
    run(tmp_path, 4, first=2, losses=(5.0,))
    assert [(row["epoch"], row["train_loss"]) for row in history(tmp_path)] == [
        ("1", "2.0"),
        ("2", "2.0"),
        ("3", "5.0"),
        ("4", "5.0"),
    ]
    assert history(tmp_path)[1]["val_mean_dice"] == "0.2"


def test_a_new_run_forgets_the_rows_of_one_without_a_checkpoint(tmp_path: Path) -> None:
    run(tmp_path, 1)
    run(tmp_path, 1, losses=(7.0,))
    assert [row["train_loss"] for row in history(tmp_path)] == ["7.0"]


def test_tensorboard_has_the_scores_and_pictures_of_the_worst_and_the_median_case(tmp_path: Path) -> None:
    run(tmp_path, 4)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [
        (epoch, 2.0) for epoch in (1, 2, 3, 4)
    ]
    assert [event.step for event in events.Scalars("val/mean_dice")] == [2, 4]
    assert events.Scalars("val/mean_dice")[1].value == pytest.approx(0.4)
    assert [event.value for event in events.Scalars("val/dice of the worst case")] == [0.0, 0.0]
    assert [event.value for event in events.Scalars("val/dice of the median case")] == [1.0, 1.0]
    (picture, _) = events.Images("val/worst: truth left, prediction right")
    assert (picture.height, picture.width) == (8, 12)
    assert "curve" not in events.Tags()["scalars"]


def test_every_epoch_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="pipelines.training.handlers"):
        run(tmp_path, 2)
    logged = [record.message for record in caplog.records if record.name == "pipelines.training.handlers"]
    assert logged == [
        "epoch 1 of 2 (at most 0.0 min left): train_loss 2, learning_rate 0.5",
        "epoch 2 of 2 (at most 0.0 min left): train_loss 2, learning_rate 0.5, val_mean_dice 0.2",
    ]
