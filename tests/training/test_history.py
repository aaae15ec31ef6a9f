"""The history of a run is read and drawn, also where nothing was measured."""

from pathlib import Path

import pytest
from matplotlib.image import imread

from pipelines.core.errors import DataError
from pipelines.training.history import history_figure, read_history

HISTORY = """epoch,iteration,train_loss,learning_rate,val_mean_dice,val_dice_rv,val_dice_loss
1,10,2.0,0.001,,,
2,20,1.5,0.0005,0.8,0.7,0.3
3,30,1.0,0.0,,nan,
"""


@pytest.fixture
def history(tmp_path: Path) -> Path:
    path = tmp_path / "history.csv"
    path.write_text(HISTORY, encoding="utf-8")
    return path


def test_epochs_without_a_value_are_left_out(history: Path) -> None:
    series = read_history(history)
    assert series["train_loss"] == ([1, 2, 3], [2.0, 1.5, 1.0])
    assert series["val_mean_dice"] == ([2], [0.8])


def test_picture_is_a_png_wider_than_high(history: Path, tmp_path: Path) -> None:
    history_figure(history, tmp_path / "new" / "curves.png")
    height, width = imread(tmp_path / "new" / "curves.png").shape[:2]
    assert width > 2 * height > 400


def test_a_run_without_any_validation_can_be_drawn(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_text(
        "epoch,iteration,train_loss,learning_rate\n1,5,3.0,0.1\n", encoding="utf-8"
    )
    history_figure(tmp_path / "history.csv", tmp_path / "curves.png")
    assert (tmp_path / "curves.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "text", [None, "", "epoch,train_loss\n", "epoch,train_loss\nfirst,1\n", "step,train_loss\n1,1\n"]
)
def test_what_is_no_history_is_a_data_error(tmp_path: Path, text: str | None) -> None:
    path = tmp_path / "history.csv"
    if text is not None:
        path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match="expected the history of a training"):
        read_history(path)
