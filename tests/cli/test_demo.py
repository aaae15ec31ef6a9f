"""The demo does the whole job at a small scale, on a phantom and on data that it is given."""

import csv
import io
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.cli import demo
from pipelines.cli.demo import DemoError, run_demo
from pipelines.core.errors import DataError, OutputError
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.reporting.study_page import DemoFindings


@pytest.fixture(scope="module")
def small_demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[DemoFindings, str, Path]:
    """A smoke demo in a folder where a demo was broken off before, and what it printed."""
    output = tmp_path_factory.mktemp("demo")
    (output / demo.MARKER_NAME).touch()
    (output / "cohort" / "training" / "patient099").mkdir(parents=True)
    (output / "training").mkdir()
    (output / "training" / "last.pt").touch()
    text = io.StringIO()
    result = run_demo(output, smoke=True, console=Console(file=text, width=120))
    return result, text.getvalue(), output


def test_report_shows_curves_overlays_and_the_new_cine(small_demo: tuple[DemoFindings, str, Path]) -> None:
    page = (small_demo[2] / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") >= 1 + 2 + 3  # curves, evaluation, ED and ES and volume curve
    for heading in ("Measured against true", "Accuracy", "The new study", "Training", "The run"):
        assert f">{heading}</h2>" in page
    assert "every frame was segmented" in page
    assert "split_hash" in (small_demo[2] / "training" / "manifest.json").read_text(encoding="utf-8")
    evaluation = (small_demo[2] / "evaluation" / "manifest.json").read_text(encoding="utf-8")
    assert '"bundle_weights": false' in evaluation


def test_what_an_earlier_demo_left_is_replaced(small_demo: tuple[DemoFindings, str, Path]) -> None:
    training = small_demo[2] / "cohort" / "training"
    assert sorted(path.name for path in training.iterdir()) == [
        f"patient00{number}" for number in range(1, 6)
    ]


def test_new_study_is_compared_with_the_volumes_the_phantom_was_made_with(
    small_demo: tuple[DemoFindings, str, Path],
) -> None:
    result = small_demo[0]
    new = result.comparisons[-1]
    assert [comparison.is_new for comparison in result.comparisons] == [False, True]
    with (small_demo[2] / "new" / "truth.csv").open() as file:
        truth = next(csv.DictReader(file))
    assert new.truth.lv_ef_percent == pytest.approx(float(truth["ef_lv_percent"]), abs=0.01)
    assert new.truth.rv_edv_ml == pytest.approx(float(truth["edv_rv_ml"]), abs=0.01)
    assert new.truth.myo_mass_ed_g == pytest.approx(float(truth["mass_g"]), abs=0.01)


def test_terminal_tells_each_step_with_its_time_the_command_and_the_report(
    small_demo: tuple[DemoFindings, str, Path],
) -> None:
    result, text, output = small_demo
    for number, (title, seconds) in enumerate(result.seconds.items(), start=1):
        line = next(line for line in text.splitlines() if line.startswith(f"{number}. {title}: "))
        assert line.endswith(f"({seconds:.1f} s)")
    assert "python -m monai.bundle run training --args_file configs/args_unet.yaml" in text
    assert "LV EF %" in text
    assert str(output / "report.html") in text


@pytest.mark.slow
def test_given_data_is_used_and_left_as_it_is(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "data", patients=5, frames=3, cine=False)
    before = sorted(tmp_path.rglob("*"))
    result = run_demo(
        tmp_path / "demo", data=tmp_path / "data", smoke=True, console=Console(file=io.StringIO())
    )
    assert [
        path for path in sorted(tmp_path.rglob("*")) if (tmp_path / "demo") not in (path, *path.parents)
    ] == before
    assert not (tmp_path / "demo" / "cohort").exists()
    # Without a cine, the frames at ED and ES of a patient not trained on are segmented.
    assert result.comparisons[-1].patient == result.comparisons[0].patient
    assert result.comparisons[-1].measured == result.comparisons[0].measured
    assert "the frames at ED and ES were segmented" in (tmp_path / "demo" / "report.html").read_text(
        encoding="utf-8"
    )


@pytest.mark.slow
def test_too_low_a_dice_is_an_error_after_the_report_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "REQUIRED_DICE", 1.0)
    with pytest.raises(DemoError, match=r"Dice of at least 1\.00 .*--minutes"):
        run_demo(tmp_path, patients=5, minutes=0.01, console=Console(file=io.StringIO()))
    assert (tmp_path / "report.html").exists()


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "training").mkdir()
    with pytest.raises(OutputError, match="expected an empty folder or one of an earlier demo"):
        run_demo(tmp_path, smoke=True)
    assert (tmp_path / "training").is_dir()


def test_data_that_is_missing_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run_demo(
            tmp_path / "demo", data=tmp_path / "nowhere", smoke=True, console=Console(file=io.StringIO())
        )
