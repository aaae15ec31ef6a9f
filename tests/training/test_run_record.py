import json
from pathlib import Path

import pytest
from matplotlib.image import imread
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.errors import DataError
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.training.run_record import history_figure, read_history, read_run, shown_command

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


HISTORY_RUN_RECORD = """epoch,iteration,train_loss,learning_rate,val_mean_dice,val_dice_loss
1,10,2.0,0.001,,
2,20,1.0,0.0005,0.8,0.3
3,30,0.5,0.0,0.75,0.35
"""
COMMAND = ["__main__.py", "run", "training", "--args_file", "configs/args_attention_unet.yaml"]


def write_run(folder: Path, *, fold: int = 0, seconds: float | None = None) -> Path:
    folder.mkdir(parents=True)
    manifest = {"name": folder.name, "command": COMMAND, "network": "attention_unet", "batch_size": 8}
    manifest |= {"fold": fold, "precision": "torch.bfloat16", "threads": 1}
    if seconds is not None:
        manifest["seconds"] = seconds
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    (folder / "history.csv").write_text(HISTORY_RUN_RECORD, encoding="utf-8")
    return folder


def test_run_is_read_with_its_last_and_best_figures(tmp_path: Path) -> None:
    run = read_run(write_run(tmp_path / "first", seconds=90.0))
    assert (run.name, run.network, run.epochs, run.samples) == ("first", "attention_unet", 3, 240)
    assert (run.seconds, run.precision, run.all_patients) == (90.0, "bfloat16", False)
    assert run.best("val_mean_dice") == 0.8
    assert run.last("val_dice_loss") == 0.35
    assert run.last("val_iou_lv") is None
    assert run.history["val_mean_dice"] == ([2, 3], [0.8, 0.75])


def test_a_renamed_run_keeps_name_network_and_samples(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "first")
    before = read_run(folder)
    folder.rename(tmp_path / "vnet_tta")
    assert read_run(tmp_path / "vnet_tta") == before


def test_fold_minus_one_is_a_run_on_all_patients(tmp_path: Path) -> None:
    assert read_run(write_run(tmp_path / "all", fold=-1)).all_patients


def test_time_is_the_sum_over_sessions_and_leaves_out_the_pause_between_them(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run", seconds=1.0)
    for session, first in enumerate((1000.0, 9000.0)):
        with SummaryWriter(str(folder / "tensorboard"), filename_suffix=f".{session}") as writer:
            for epoch in range(3):
                writer.add_scalar("train_loss", 1.0, epoch, walltime=first + 60 * epoch)
    assert read_run(folder).seconds == pytest.approx(2 * 3 * 60)


def test_command_is_shown_without_paths_of_the_machine() -> None:
    words = [
        *COMMAND,
        "--output_dir",
        "/here/runs/att",
        "--cache_dir",
        "/here/cache",
        "--dataset_dir=/here/prep",
    ]
    words += ["--initial_weights", "/here/runs/first/best.pt", "--max_epochs", "40"]
    assert shown_command(words) == (
        "python -m monai.bundle run training --args_file configs/args_attention_unet.yaml "
        "--output_dir runs/att --dataset_dir /path/to/prepared "
        "--initial_weights runs/first/best.pt --max_epochs 40"
    )
    words = ["thorax", "evaluate", "/here/prep", "--output", "runs/test_unet", "--tta"]
    assert shown_command(words) == "thorax evaluate /path/to/prepared --output runs/test_unet --tta"
    words = ["/bin/thorax", "compare", "--model", "a=unet:/data/runs/u/best.pt+vnet:/x/v/best.pt+tta"]
    assert shown_command([*words, "--output", "/data/out"]) == (
        "thorax compare --model a=unet:runs/u/best.pt+vnet:runs/v/best.pt+tta --output runs/out"
    )


def test_folder_without_a_run_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected the history of a training"):
        read_run(tmp_path)
    (tmp_path / "history.csv").write_text(HISTORY_RUN_RECORD, encoding="utf-8")
    with pytest.raises(DataError, match=r"expected a training run whose manifest\.json"):
        read_run(tmp_path)


def test_a_run_of_a_version_that_did_not_record_its_network_is_an_error(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "run")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    del manifest["network"]
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(DataError, match="has command, network and batch_size.*add what is missing"):
        read_run(folder)


def test_weights_of_the_bundle_are_shown_where_they_lie_in_it() -> None:
    weights = ACDC_BUNDLE / "models" / "unet" / "model.pt"
    words = ["__main__.py", "run", "training", "--initial_weights", str(weights)]
    assert shown_command(words).endswith("--initial_weights models/unet/model.pt")
