import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_cohort import COARSE, NARROW, write_small_cohort
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.core.errors import ConfigError, DataError
from pipelines.datasets.phantom.xray import write_phantom_xrays
from pipelines.datasets.prepare import prepare_acdc
from pipelines.datasets.prepare_xray import prepare_chest_xray
from pipelines.models.bundle import bundle_of, load_config
from pipelines.training.launch import read_settings
from pipelines.training.search import SearchOptions, read_space, read_trials, run_trial, search


def write(folder: Path, text: str) -> Path:
    path = folder / "space.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_ranges_and_choices_are_read(tmp_path: Path) -> None:
    path = write(
        tmp_path, "a: {low: 1, high: 2.5}\nb: {low: 1.0e-4, high: 0.1, log: true}\nc: {choice: [[], [8]]}"
    )
    assert read_space(path) == {
        "a": {"low": 1, "high": 2.5},
        "b": {"low": 1e-4, "high": 0.1, "log": True},
        "c": {"choice": [[], [8]]},
    }


@pytest.mark.parametrize(
    "entry",
    [
        "3",
        "{low: 2, high: 1}",
        "{low: 0, high: 1, log: true}",
        "{low: 1}",
        "{low: a, high: b}",
        "{low: 1, high: 2, step: 1}",
        "{choice: []}",
        "{choice: 3}",
        "{choice: [1], low: 0}",
    ],
)
def test_an_entry_that_is_no_range_is_reported_with_its_name(tmp_path: Path, entry: str) -> None:
    with pytest.raises(ConfigError, match=r"expected dropout to be .*found .*space\.yaml"):
        read_space(write(tmp_path, f"dropout: {entry}"))


@pytest.mark.parametrize("text", ["", "just text", "- a\n- b", "a: [1", "{}"])
def test_a_file_without_settings_is_reported(tmp_path: Path, text: str) -> None:
    with pytest.raises(ConfigError, match=r"expected .*space\.yaml"):
        read_space(write(tmp_path, text))


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected settings in .*none\.yaml"):
        read_space(tmp_path / "none.yaml")


@pytest.mark.parametrize("network", ["resnet18", "unet"])
def test_the_space_of_the_bundle_holds_settings_that_training_has(network: str) -> None:
    """A mistyped name would be searched and do nothing."""
    known = load_config(network, ["train"])
    space = read_space(bundle_of(network) / "configs" / "search.yaml")
    assert [name for name in space if name not in known] == []
    assert "learning_rate" in space


SPACE = {"learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}
SMALL = {"size_px": [32, 32], "batch_size": 8, "precision": "fp32", "head": [], "warmup": 2}


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("tune")
    write_phantom_xrays(root / "data", patients=40, images=1, side_px=48)
    prepare_chest_xray(root / "data", root / "prepared")
    return root / "prepared"


def history(folder: Path) -> list[dict[str, str]]:
    with (folder / "history.csv").open(newline="") as stream:
        return list(csv.DictReader(stream))


def test_a_trial_tells_of_each_epoch_and_goes_on_from_the_last(prepared: Path, tmp_path: Path) -> None:
    told: list[dict[str, float]] = []

    def stop_after_first(scores: dict[str, float]) -> None:
        told.append(scores)
        if len(told) == 1:
            raise KeyboardInterrupt

    settings: dict[str, Any] = SMALL | {"max_epochs": 3, "learning_rate": 0.002}
    arguments: dict[str, Any] = {"network": "resnet18", "dataset_dir": prepared, "folder": tmp_path / "trial"}
    with pytest.raises(KeyboardInterrupt):
        run_trial(settings, report=stop_after_first, **arguments)
    run_trial(settings, report=stop_after_first, **arguments)
    assert [scores["epoch"] for scores in told] == [1, 2, 3]
    rows = history(tmp_path / "trial")
    assert [float(row["val_auroc"]) for row in rows] == pytest.approx([scores["auroc"] for scores in told])
    assert [float(row["val_accuracy"]) for row in rows] == pytest.approx(
        [scores["accuracy"] for scores in told]
    )


def test_trials_are_ranked_by_their_best_epoch(tmp_path: Path) -> None:
    for name, scores in {"a": (0.7, 0.6), "b": (0.5, 0.9), "c": (0.8, 0.8)}.items():
        folder = tmp_path / "trials" / name
        folder.mkdir(parents=True)
        (folder / "settings.yaml").write_text(yaml.safe_dump({"dropout": 0.5}), encoding="utf-8")
        lines = [f"{epoch},{score},{score / 2}" for epoch, score in enumerate(scores, start=1)]
        (folder / "history.csv").write_text(
            "\n".join(["epoch,val_auroc,val_accuracy", *lines]) + "\n", encoding="utf-8"
        )
    (tmp_path / "trials" / "not_begun").mkdir()
    found = read_trials(tmp_path)
    assert [(trial.name, *trial.scores.values(), trial.epochs) for trial in found] == [
        ("b", 0.9, 0.45, 2),
        ("c", 0.8, 0.4, 2),
        ("a", 0.7, 0.35, 2),
    ]
    with pytest.raises(ConfigError, match="expected a trial that finished an epoch"):
        read_trials(tmp_path / "elsewhere")


def test_a_folder_that_does_not_fit_resume_is_refused(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a search to go on with"):
        search("resnet18", prepared, tmp_path, SPACE, SearchOptions(), resume=True)
    (tmp_path / "ray").mkdir()
    with pytest.raises(ConfigError, match=r"expected an empty folder, found the search .*--resume"):
        search("resnet18", prepared, tmp_path, SPACE, SearchOptions())


def test_a_mistyped_setting_stops_before_ray_starts(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected settings of configs/train\.yaml, found learningrate"):
        search("resnet18", prepared, tmp_path / "a", {"learningrate": {"low": 0, "high": 1}}, SearchOptions())
    with pytest.raises(ConfigError, match="found heads"):
        search("resnet18", prepared, tmp_path / "b", SPACE, SearchOptions(settings={"heads": [8]}))


def test_a_search_of_nothing_stops_before_ray_starts(prepared: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a setting to search"):
        search("resnet18", prepared, tmp_path, SPACE, SearchOptions(settings={"learning_rate": 0.001}))


def test_data_that_is_not_prepared_stops_before_ray_starts(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        search("resnet18", tmp_path, tmp_path / "out", SPACE, SearchOptions())


def command(prepared: Path, output: Path, *more: str) -> list[str]:
    space = output.with_suffix(".yaml")
    space.write_text(
        "learning_rate: {low: 0.0001, high: 0.01, log: true}\nbatch_size: {choice: [4096]}\n",
        encoding="utf-8",
    )
    options = ["--trials", "3", "--epochs", "2", "--workers", "1", "--space", str(space)]
    for name, value in SMALL.items():
        options += ["--set", f"{name}={value}"]
    words = ["tune", "resnet18", "--data", str(prepared), "--output", str(output)]
    return [str(Path(sys.executable).parent / "thorax"), *words, *options, *more]


@pytest.fixture
def killed(prepared: Path, tmp_path: Path) -> Path:
    """A search that was killed with SIGKILL after its first epoch."""
    output = tmp_path / "search"
    process = subprocess.Popen(
        command(prepared, output),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 240
        while not list(output.glob("trials/*/history.csv")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.2)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    return output


@pytest.mark.slow
def test_a_killed_search_goes_on_to_its_end(prepared: Path, killed: Path) -> None:
    begun = {path.parent.name for path in killed.glob("trials/*/history.csv")}
    run = subprocess.run(
        [*command(prepared, killed, "--resume"), "--trials", "50"],
        capture_output=True,
        encoding="utf-8",
        timeout=400,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    trials = read_trials(killed)
    assert len(trials) == 3
    assert begun <= {trial.name for trial in trials}
    assert list(killed.glob("trials/*/last.pt")) == []
    assert all(int(history(killed / "trials" / trial.name)[0]["epoch"]) == 1 for trial in trials)

    best = read_settings(killed / "best.yaml")
    assert best["batch_size"] == SMALL["batch_size"]  # given, so not drawn
    assert best["learning_rate"] == trials[0].settings["learning_rate"]
    assert best["size_px"] == [32, 32]
    with (killed / "trials.csv").open(newline="") as stream:
        assert [row["trial"] for row in csv.DictReader(stream)] == [trial.name for trial in trials]
    events = EventAccumulator(str(killed / "tensorboard" / trials[0].name))
    events.Reload()
    assert events.Scalars("auroc")[0].value == pytest.approx(trials[0].score)
    assert events.PluginTagToContent("hparams")


@pytest.mark.slow
def test_a_search_for_a_network_of_hearts_is_ranked_by_dice(tmp_path: Path) -> None:
    write_small_cohort(tmp_path / "data", patients=10)
    prepare_acdc(tmp_path / "data", tmp_path / "prepared")
    output = tmp_path / "search"
    settings = (COARSE | NARROW["unet"]).items()
    words = ["tune", "unet", "--data", str(tmp_path / "prepared"), "-o", str(output), "--smoke"]
    words += ["--workers", "1", *(word for pair in settings for word in ("--set", f"{pair[0]}={pair[1]}"))]
    found = CliRunner().invoke(app, words, catch_exceptions=False)
    assert found.exit_code == 0, found.output
    trials = read_trials(output, ("mean_dice", "dice_lv"))
    assert len(trials) == 2
    assert trials[0].score >= trials[1].score
    best = read_settings(output / "best.yaml")
    assert best["optimizer"] in ("sgd", "adamw")
    assert best["learning_rate"] == trials[0].settings["learning_rate"]
    assert best["batch_size"] == COARSE["batch_size"]  # given, so not drawn
