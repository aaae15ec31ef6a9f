import json
from pathlib import Path
from typing import Any

import pytest

from pipelines.core.errors import DataError
from pipelines.reporting.acdc_results import write_acdc_results
from pipelines.reporting.markdown import END, START

STRUCTURES = ("rv", "myo", "lv", "mean")
INDICES = ("ef_lv", "edv_lv_ml", "esv_lv_ml", "mass_g")
HISTORY = "epoch,iteration,train_loss,val_mean_dice,val_dice_loss,val_dice_rv\n1,100,1.0,0.9,0.09,0.85\n"


def write_run(folder: Path, network: str, *, fold: int = 0, seconds: float = 7260.0) -> Path:
    folder.mkdir(parents=True)
    command = ["__main__.py", "run", "training", "--args_file", f"configs/args_{network}.yaml"]
    manifest = {"command": [*command, "--dataset_dir", "/here/prep"], "fold": fold, "seconds": seconds}
    (folder / "manifest.json").write_text(json.dumps({**manifest, "precision": "None", "threads": 2}))
    (folder / "history.csv").write_text(HISTORY)
    return folder


def write_evaluation(folder: Path, *, dice: float = 0.9, patients: int = 2) -> Path:
    def tree(figure: Any, error: Any) -> dict[str, Any]:
        metrics = {name: dict.fromkeys(STRUCTURES, figure) for name in ("dice", "f1", "hd95_mm")}
        return metrics | {name: {"mae": error} for name in INDICES}

    folder.mkdir(parents=True)
    people = [{"patient": f"patient{n:03d}", "group": "DCM" if n else "NOR"} for n in range(patients)]
    intervals = tree([dice - 0.02, dice + 0.01], None)
    metrics = {"summary": tree(dice, 2.34), "intervals": intervals, "patients": people}
    (folder / "metrics.json").write_text(json.dumps(metrics))
    return folder


@pytest.fixture
def card(tmp_path: Path) -> Path:
    path = tmp_path / "README.md"
    path.write_text(f"# Card\n\n{START}\nold figures\n{END}\n\nafter\n")
    return path


def rows_of(text: str) -> dict[str, list[str]]:
    """Cells of the tables by the first cell of their row."""
    lines = [line[1:-1].split("|") for line in text.splitlines() if line.startswith("|")]
    return {line[0].strip(): [cell.strip() for cell in line[1:]] for line in lines}


def test_page_has_each_figure_with_its_interval_under_its_network(tmp_path: Path, card: Path) -> None:
    runs = [write_run(tmp_path / name, name) for name in ("unet", "vnet")]
    evaluations = [
        write_evaluation(tmp_path / "test_unet", dice=0.92),
        write_evaluation(tmp_path / "test_vnet_tta", dice=0.88),
    ]
    page = write_acdc_results(runs, evaluations, tmp_path / "docs", card=card)
    assert page == tmp_path / "docs" / "acdc.md"
    rows = rows_of(page.read_text())
    assert rows["Dice RV"] == ["0.920 (0.900 to 0.930)", "0.880 (0.860 to 0.890)"]
    assert rows["LV EF error, points"] == ["2.3", "2.3"]
    assert rows["training time"] == ["2 h 1 min", "2 h 1 min"]
    assert rows["samples seen"] == ["1,200", "1,200"]
    assert rows["parameters"][0].endswith("million")
    assert "| | UNet | VNet, flips averaged |" in page.read_text().replace("|  |", "| |")
    assert "2 patients (DCM 1, NOR 1): patient000, patient001." in page.read_text()
    assert "--dataset_dir /path/to/prepared" in page.read_text()
    assert "/here" not in page.read_text()
    assert (tmp_path / "docs" / "acdc_curves.png").read_bytes().startswith(b"\x89PNG")


def test_runs_of_a_network_add_up_and_those_on_all_patients_are_set_apart(tmp_path: Path, card: Path) -> None:
    runs = [
        write_run(tmp_path / "first", "unet"),
        write_run(tmp_path / "second", "unet", seconds=60),
        write_run(tmp_path / "final", "unet", fold=-1),
    ]
    page = write_acdc_results(runs, [write_evaluation(tmp_path / "test_unet")], tmp_path / "docs", card=card)
    rows = rows_of(page.read_text())
    assert rows["training time"] == ["2 h 2 min"]
    assert rows["samples seen"] == ["2,400"]
    assert rows["first"][1] == "all folds but 0"
    assert rows["first"][-2:] == ["0.900", "0.090"]
    assert rows["final"][1] == "all patients"
    assert rows["final"][-2:] == ["", ""]
    assert "final went on with all patients" in page.read_text()


def test_ensemble_counts_the_training_of_all_networks(tmp_path: Path, card: Path) -> None:
    runs = [write_run(tmp_path / name, name, seconds=600) for name in ("unet", "vnet")]
    page = write_acdc_results(
        runs, [write_evaluation(tmp_path / "test_ensemble")], tmp_path / "docs", card=card
    )
    rows = rows_of(page.read_text())
    assert rows["training time"] == ["20 min"]
    assert "Mean of all networks" in page.read_text()


def test_card_takes_the_figures_between_its_markers_and_keeps_the_rest(tmp_path: Path, card: Path) -> None:
    runs, evaluations = [write_run(tmp_path / "unet", "unet")], [write_evaluation(tmp_path / "test_unet")]
    write_acdc_results(runs, evaluations, tmp_path / "docs", card=card)
    once = card.read_text()
    assert once.startswith(f"# Card\n\n{START}\n| ")
    assert once.endswith(f"{END}\n\nafter\n")
    assert "old figures" not in once
    write_acdc_results(runs, evaluations, tmp_path / "docs", card=card)
    assert card.read_text() == once


def test_figure_that_is_not_defined_is_an_empty_cell(tmp_path: Path, card: Path) -> None:
    folder = write_evaluation(tmp_path / "test_unet")
    metrics = json.loads((folder / "metrics.json").read_text())
    metrics["summary"]["hd95_mm"]["rv"] = metrics["intervals"]["hd95_mm"]["rv"] = None
    (folder / "metrics.json").write_text(json.dumps(metrics))
    page = write_acdc_results([write_run(tmp_path / "unet", "unet")], [folder], tmp_path / "docs", card=card)
    assert rows_of(page.read_text())["HD95 RV, mm"] == [""]


def test_card_without_markers_is_an_error_and_no_page_is_written(tmp_path: Path, card: Path) -> None:
    card.write_text("# Card\n")
    runs, evaluations = [write_run(tmp_path / "unet", "unet")], [write_evaluation(tmp_path / "test_unet")]
    with pytest.raises(DataError, match="expected the lines"):
        write_acdc_results(runs, evaluations, tmp_path / "docs", card=card)
    assert not (tmp_path / "docs").exists()


@pytest.mark.parametrize("name", ["first", "test"])
def test_evaluation_whose_folder_names_no_network_is_an_error(name: str, tmp_path: Path, card: Path) -> None:
    with pytest.raises(DataError, match="expected a folder named after its network"):
        write_acdc_results(
            [write_run(tmp_path / "unet", "unet")], [write_evaluation(tmp_path / name)], tmp_path, card=card
        )


def test_nothing_to_report_is_an_error(tmp_path: Path, card: Path) -> None:
    with pytest.raises(DataError, match="expected at least one run and one evaluation, found 0 and 0"):
        write_acdc_results([], [], tmp_path, card=card)
