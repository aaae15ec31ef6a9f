"""The bundle's training runs from Python, and its command line says the same."""

import os
import shlex
from pathlib import Path

import fire
import pytest
import torch
from monai.bundle import ConfigParser

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.progress import progress_to
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.models.bundle import ACDC_BUNDLE, load_config
from pipelines.training.launch import bundle_command, parse_settings, train_network


@pytest.fixture(scope="module")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("launch") / "cohort"
    write_phantom_cohort(root, patients=5, frames=3, cine=False)
    return root


@pytest.fixture(scope="module")
def smoke_run(
    cohort: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, list[tuple[int, int, str]]]:
    """A smoke run of one epoch from a folder that is not the bundle's, and what it told."""
    told: list[tuple[int, int, str]] = []
    folder = tmp_path_factory.mktemp("elsewhere")
    before = Path.cwd()
    os.chdir(folder)
    try:
        with progress_to(lambda done, total, text: told.append((done, total, text))):
            train_network("unet", cohort, Path("run"), overlays=("smoke",), max_epochs=1)
    finally:
        os.chdir(before)
    return folder / "run", told


def test_training_leaves_weights_history_and_manifest(
    smoke_run: tuple[Path, list[tuple[int, int, str]]],
) -> None:
    names = {path.name for path in smoke_run[0].iterdir()}
    assert {"best.pt", "last.pt", "history.csv", "manifest.json", "datalist.json"} <= names


def test_best_weights_are_a_state_under_the_key_model(
    smoke_run: tuple[Path, list[tuple[int, int, str]]],
) -> None:
    content = torch.load(smoke_run[0] / "best.pt", weights_only=True)
    assert set(content) == {"model"}


def test_progress_counts_up_to_the_last_iteration(smoke_run: tuple[Path, list[tuple[int, int, str]]]) -> None:
    told = smoke_run[1]
    assert [done for done, _, _ in told] == list(range(1, told[-1][1] + 1))
    assert told[-1][2].startswith("epoch 1, loss ")


def test_a_folder_that_holds_a_run_is_not_overwritten(
    cohort: Path, smoke_run: tuple[Path, list[tuple[int, int, str]]]
) -> None:
    with pytest.raises(ConfigError, match="expected an empty run folder"):
        train_network("unet", cohort, smoke_run[0], overlays=("smoke",))


def test_data_that_is_missing_is_a_data_error_and_not_one_of_monai(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        train_network("unet", tmp_path / "nowhere", tmp_path / "run", overlays=("smoke",))


def test_an_unknown_overlay_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected a bundle with nonsense\.yaml"):
        train_network("unet", tmp_path, tmp_path / "run", overlays=("nonsense",))


def test_command_runs_in_the_bundle_with_the_files_of_the_network(tmp_path: Path) -> None:
    command = bundle_command("vnet", tmp_path / "my data", tmp_path / "run")
    assert shlex.split(command) == [
        *("cd", str(ACDC_BUNDLE), "&&", "python", "-m", "monai.bundle", "run", "training"),
        *("--args_file", "configs/args_vnet.yaml"),
        *("--dataset_dir", str(tmp_path / "my data"), "--output_dir", str(tmp_path / "run")),
    ]


def test_settings_survive_the_way_through_the_command_line(tmp_path: Path) -> None:
    settings = {
        "max_epochs": 3,
        "patch_px": [96, 80],
        "initial_weights": None,
        "decay": "cosine",
        "learning_rate": 1e-5,
    }
    command = bundle_command("unet", tmp_path, tmp_path, resume=True, overlays=("smoke",), **settings)
    words = shlex.split(command)
    words = words[words.index("--args_file") :]
    read = fire.Fire(lambda **given: given, command=words, name="run", serialize=lambda given: "")
    assert {name: read[name] for name in settings} == settings
    assert read["resume"] is True
    layers = [Path(file).name for file in read["config_file"]]
    assert layers == ["common.yaml", "network_unet.yaml", "train.yaml", "smoke.yaml"]


@pytest.mark.parametrize("name", ["smoke", "timed", "steps"])
def test_an_overlay_changes_only_settings_that_training_has(name: str) -> None:
    """A mistyped id would be added and do nothing."""
    training = load_config("unet", ["train"])
    new = {
        "timed": {"minutes", "budget", "train::handlers::0::budget"},
        "steps": {"steps", "train::trainer::epoch_length"},
        "smoke": set(),
    }[name]
    overlay = ConfigParser.load_config_file(ACDC_BUNDLE / "configs" / f"{name}.yaml")
    assert {key for key in overlay if key.lstrip("+") not in training} == new


def test_settings_are_read_as_yaml() -> None:
    pairs = ["max_epochs=10", "patch_px=[96, 96]", "resume=true", "optimizer=sgd", "weights=a=b"]
    assert parse_settings(pairs) == {
        "max_epochs": 10,
        "patch_px": [96, 96],
        "resume": True,
        "optimizer": "sgd",
        "weights": "a=b",
    }


@pytest.mark.parametrize("pair", ["max_epochs", "=3", "patch_px=[1, 2"])
def test_a_setting_without_name_sign_or_sound_value_is_refused(pair: str) -> None:
    with pytest.raises(ConfigError, match="expected a setting such as max_epochs=10"):
        parse_settings([pair])
