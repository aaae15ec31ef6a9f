import csv
import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.core.errors import DataError
from pipelines.core.progress import progress_to
from pipelines.core.records import PatientRecord, Phase, VolumeRecord
from pipelines.core.volume import Volume
from pipelines.interaction.benchmark import interact_benchmark, summarise_clicks
from pipelines.interaction.clicks import Mask
from pipelines.interaction.corrector import Corrector
from pipelines.models.bundle import load_config
from pipelines.models.heart import Prediction
from pipelines.models.weights import save_weights


def row(case: str, mode: str, clicks: int | None, **dice: float | None) -> dict[str, Any]:
    values = {f"dice_{name}": dice.get(name) for name in ("rv", "myo", "lv", "mean")}
    return {
        "patient": case,
        "phase": "ED",
        "mode": mode,
        "slice": 0 if mode == "one_slice" else None,
        "clicks": clicks,
        **values,
        "seconds": 0.1 * clicks if clicks else 0.2 if mode == "scribbles" else None,
    }


ROWS = [
    row("a", "volume", 0, rv=0.8, myo=0.8, lv=0.90, mean=0.8),
    row("a", "volume", 1, rv=0.8, myo=0.9, lv=0.95, mean=0.9),
    row("a", "volume", 2, rv=0.8, myo=0.9, lv=0.95, mean=0.85),
    row("b", "volume", 0, myo=0.8, lv=0.8, mean=0.6),
    row("b", "volume", 1, myo=0.8, lv=0.8, mean=0.8),
    row("a", "one_slice", 0, mean=None),
    row("a", "scribbles", None, rv=0.9, lv=0.95, mean=0.9),
]


def test_curves_are_means_over_volumes_and_keep_the_last_mask_of_those_that_are_done() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)["volume"]
    assert found["cases"] == 2
    assert found["dice"]["mean"] == pytest.approx([0.7, 0.85, 0.825])
    assert found["dice"]["lv"] == pytest.approx([0.85, 0.875, 0.875])
    assert found["dice"]["rv"] == pytest.approx([0.8, 0.8, 0.8])


def test_a_click_that_lowers_the_mean_is_counted() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)["volume"]
    assert found["lowered"] == [0.0, 0.5]
    assert found["lowered_of_all_clicks"] == pytest.approx(1 / 3)


def test_clicks_to_a_goal_are_counted_over_all_volumes_that_have_the_structure() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)["volume"]["clicks_to"]
    assert found["lv"] == {"median": None, "reached": 0.5, "dice": 0.95}
    only = summarise_clicks([*ROWS[:3], *ROWS[5:]], clicks=2, slice_clicks=1)["volume"]["clicks_to"]
    assert only["lv"] == {"median": 1.0, "reached": 1.0, "dice": 0.95}
    assert only["myo"] == {"median": 1.0, "reached": 1.0, "dice": 0.9}


def test_times_are_those_of_clicks_and_absent_structures_give_none() -> None:
    found = summarise_clicks(ROWS, clicks=2, slice_clicks=1)
    assert found["volume"]["seconds"]["median"] == pytest.approx(0.1)
    assert found["one_slice"]["dice"]["mean"] == [None, None]
    assert found["one_slice"]["clicks_to"]["lv"] == {"median": None, "reached": None, "dice": 0.95}
    assert found["scribbles"] == {
        "dice": {"rv": 0.9, "myo": None, "lv": 0.95, "mean": 0.9},
        "seconds": 0.2,
    }


class Misses:
    """Segments all but one slice of what lies beside the image."""

    def __init__(self, truth: Mask) -> None:
        self.truth = truth

    def predict(self, volume: Volume) -> Prediction:
        mask = self.truth.copy()
        mask[:, :, 1] = 0
        return Prediction(mask, {})


@pytest.fixture
def record(heart: tuple[Volume, Mask], tmp_path: Path) -> PatientRecord:
    """One labelled volume as files."""
    volume, truth = heart
    nib.save(nib.Nifti1Image(volume.array, volume.affine), tmp_path / "image.nii.gz")
    nib.save(nib.Nifti1Image(truth, volume.affine), tmp_path / "label.nii.gz")
    files = (tmp_path / "image.nii.gz", tmp_path / "label.nii.gz")
    found = VolumeRecord("anna", "NOR", Phase.ED, 1, volume.spacing_mm, *files)
    return PatientRecord("anna", "NOR", (found,))


def test_each_user_and_each_click_is_a_row_and_the_figures_follow_from_them(
    record: PatientRecord, heart: tuple[Volume, Mask], corrector: Corrector, tmp_path: Path
) -> None:
    truth = heart[1]
    told: list[tuple[int, int, str]] = []
    with progress_to(lambda *what: told.append(what)):
        content = interact_benchmark(
            tmp_path / "out", corrector, Misses(truth), [record], clicks=2, slice_clicks=1, section="all"
        )
    with (tmp_path / "out" / "clicks.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    modes = [row["mode"] for row in rows]
    # A slice that is right already gets no click.
    assert [modes.count(mode) for mode in ("volume", "one_slice", "scribbles")] == [3, 5, 1]
    missed = truth.copy()
    missed[:, :, 1] = 0
    expected = 2 * (missed == 3).sum() / ((missed == 3).sum() + (truth == 3).sum())
    assert float(rows[0]["dice_lv"]) == pytest.approx(expected)
    assert content["volume"]["dice"]["lv"][0] == pytest.approx(expected)
    assert content["scribbles"]["dice"]["lv"] > 0.93
    assert json.loads((tmp_path / "out" / "interaction.json").read_text(encoding="utf-8"))["section"] == "all"
    assert told == [(1, 1, "anna ED")]


def test_volumes_without_a_label_are_refused(
    heart: tuple[Volume, Mask], corrector: Corrector, tmp_path: Path
) -> None:
    bare = VolumeRecord("anna", "NOR", Phase.ED, 1, (1.5, 1.5, 8.0), tmp_path / "image.nii.gz", None)
    patients = [PatientRecord("anna", "NOR", (bare,))]
    with pytest.raises(DataError, match="expected labelled volumes, found none in 1 patients"):
        interact_benchmark(tmp_path, corrector, Misses(heart[1]), patients)


def test_the_command_writes_figures_plot_and_manifest_and_then_the_page(
    heart: tuple[Volume, Mask], random_weights: Path, tmp_path: Path
) -> None:
    volume, truth = heart
    folder = tmp_path / "acdc" / "training" / "patient001"
    folder.mkdir(parents=True)
    (folder / "Info.cfg").write_text("ED: 1\nES: 2\nGroup: NOR\n", encoding="utf-8")
    for frame in (1, 2):
        name = folder / f"patient001_frame{frame:02d}"
        nib.save(nib.Nifti1Image(volume.array, volume.affine), f"{name}.nii.gz")
        nib.save(nib.Nifti1Image(truth, volume.affine), f"{name}_gt.nii.gz")
    save_weights(load_config("unet").get_parsed_content("network_def"), tmp_path / "unet.pt")
    out = tmp_path / "out"
    options = ["--weights", str(tmp_path / "unet.pt"), "--corrector-weights", str(random_weights)]
    command = ["benchmark", "clicks", str(tmp_path / "acdc"), "--output", str(out), "--clicks", "1"]
    run = CliRunner().invoke(app, [*command, "--slice-clicks", "1", *options, "--device", "cpu"])
    assert run.exit_code == 0, run.output
    names = {"interaction.json", "clicks.csv", "interaction.png", "manifest.json"}
    assert {path.name for path in out.iterdir()} == names
    pages = ["results", "interaction", "--benchmark", str(out), "--output", str(tmp_path / "docs")]
    assert CliRunner().invoke(app, pages).exit_code == 0
    assert "patient001" in (tmp_path / "docs" / "interaction.md").read_text(encoding="utf-8")
    assert np.isfinite(json.loads((out / "interaction.json").read_text(encoding="utf-8"))["open_seconds"])
