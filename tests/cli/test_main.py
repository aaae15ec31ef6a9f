"""The `thorax` command as its entry point runs it: exit codes and messages."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from intensity_hearts import IntensityPredictor, heart, save

from pipelines.cli.main import main
from pipelines.models.heart import Predictor
from pipelines.quality.model import QualityEstimator


def run(monkeypatch: pytest.MonkeyPatch, *words: object) -> int:
    """Exit code of the command with these arguments."""
    monkeypatch.setattr(sys, "argv", ["thorax", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0)


def test_a_missing_folder_is_one_message_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "prepare", "acdc", tmp_path / "nowhere", "--output", tmp_path / "out") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"Error: expected ROOT at {tmp_path / 'nowhere'}, found nothing there; ")
    assert "Traceback" not in error


@pytest.mark.parametrize("words", ["segment {}", "report {}", "report mine={}"])
def test_a_mistyped_path_is_found_before_anything_heavy_is_imported(tmp_path: Path, words: str) -> None:
    (tmp_path / "patients").mkdir()
    line = ["thorax", *words.format(tmp_path / "patient" / "a.nii").split(), "-o", "out"]
    script = (
        f"import sys; from pipelines.cli.main import main; sys.argv = {line!r}\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ended.returncode == 1
    assert f"did you mean {tmp_path / 'patients'}?" in ended.stderr
    assert ended.stdout == "False\n"


@pytest.mark.parametrize(
    "words",
    [
        "segment {}",
        "classify {}",
        "explain {}",
        "evaluate {}",
        "analyse {}",
        "cohort run {}",
        "train unet --data {}",
    ],
)
@pytest.mark.parametrize("file", ["notes.txt", None])
def test_a_folder_without_data_is_found_before_anything_heavy_is_imported(
    tmp_path: Path, words: str, file: str | None
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    if file:
        (folder / file).touch()
    line = ["thorax", *words.format(folder).split(), "-o", str(tmp_path / "out")]
    script = (
        f"import sys; from pipelines.cli.main import main; sys.argv = {line!r}\n"
        "try:\n    main()\nfinally:\n    print('torch' in sys.modules)"
    )
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stdout) == (1, "False\n"), ended.stderr
    assert ended.stderr.startswith("Error: expected ")
    assert not (tmp_path / "out").exists()


def test_one_missing_file_of_several_does_not_stop_the_others(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    assert run(monkeypatch, "segment", tmp_path / "there", tmp_path / "gone", "-o", tmp_path / "out") == 1
    assert "found nothing there" not in capsys.readouterr().err  # the folder that is there was looked into


def test_pictures_of_a_segmentation_are_in_the_language_of_its_page(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    predictor = IntensityPredictor()
    predictor.networks = ("unet",)
    monkeypatch.setattr(Predictor, "load", lambda *_, **__: predictor)
    monkeypatch.setattr(QualityEstimator, "load", lambda *_, **__: None)
    cine = save(tmp_path / "anna.nii.gz", np.stack([heart(radius) for radius in (8, 6)], axis=3))
    for language in ("en", "fa"):
        assert run(monkeypatch, "segment", cine, "-o", tmp_path / language, "--lang", language) == 0
    english, persian = (tmp_path / language / "anna_curve.png" for language in ("en", "fa"))
    assert english.read_bytes() != persian.read_bytes()


def test_brackets_in_a_path_are_shown_as_they_are(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "scans [red]"
    assert run(monkeypatch, "prepare", "acdc", folder, "--output", tmp_path / "out") == 1
    assert "scans [red]" in capsys.readouterr().err


def test_an_unknown_network_is_a_usage_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "train", "resnet", "--data", tmp_path, "--output", tmp_path) == 2
    assert "attention_unet" in capsys.readouterr().err


def test_an_unknown_setting_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "datalist.json").touch()
    words = ("train", "unet", "--data", tmp_path, "--output", tmp_path / "run", "--set", "max_epoch=3")
    assert run(monkeypatch, *words) == 1
    assert "max_epoch" in capsys.readouterr().err


def test_a_folder_without_images_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    assert run(monkeypatch, "segment", tmp_path / "empty", "--output", tmp_path / "out") == 1
    assert "empty" in capsys.readouterr().err


def test_phantom_says_where_the_cohort_is(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert run(monkeypatch, "phantom", "--output", tmp_path, "--patients", 1) == 0
    assert f"1 patients in {tmp_path / 'training'}" in capsys.readouterr().out


def test_the_command_line_and_the_watcher_start_without_the_large_libraries() -> None:
    code = (
        "import sys, pipelines.cli.main, pipelines.watching.service, pipelines.watching.processing\n"
        "print([name for name in ('torch', 'monai', 'ray') if name in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert run.stdout == "[]\n"
