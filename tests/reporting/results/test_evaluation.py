import re
from pathlib import Path

from report_folders import cases, page_of, rows_of, write_evaluation, write_training

from pipelines.evaluation.segmentation import summarise
from pipelines.reporting.document import Format, read_language
from pipelines.reporting.report import write_report


def test_page_has_each_value_with_its_interval_under_its_network(tmp_path: Path) -> None:
    runs = [write_training(tmp_path / name, network=name) for name in ("unet", "vnet")]
    metrics = summarise(list(cases()), resamples=20)
    low, high = metrics["intervals"]["dice"]["rv"]
    evaluations = [
        write_evaluation(tmp_path / "first", weights=b"1", content=metrics),
        write_evaluation(tmp_path / "second", weights=b"2", networks=("vnet",), tta=True, content=metrics),
    ]
    page = page_of(tmp_path / "docs", *runs, *evaluations)
    rows = rows_of(page)
    assert rows["Dice RV"] == [f"0.750 ({low:.3f} to {high:.3f})"] * 2
    assert rows["training time"] == ["2 min", "2 min"]
    assert rows["samples seen"] == ["360", "360"]
    assert rows["parameters"] == ["8.8 million", "8.8 million"]
    assert "|  | UNet | VNet, TTA |" in page
    assert "2 patients (DCM 1, NOR 1): a, b." in page
    assert "/data" not in page
    assert list((tmp_path / "docs").glob("page-curves.png"))


def test_runs_of_a_network_add_up_and_those_on_all_patients_are_set_apart(tmp_path: Path) -> None:
    runs = [write_training(tmp_path / name) for name in ("first", "second")]
    runs.append(write_training(tmp_path / "final", fold=-1))
    page = page_of(tmp_path / "docs", *runs, write_evaluation(tmp_path / "test", weights=b"1"))
    rows = rows_of(page)
    assert rows["training time"] == ["3 min"]
    assert rows["samples seen"] == ["720"]
    assert rows["first"][1] == "all folds but 0"
    assert rows["first"][-2:] == ["0.800", "0.350"]
    assert rows["final"][1] == "all patients"
    assert rows["final"][-2:] == ["", ""]
    assert "final resumed from these with all patients" in page


def test_an_evaluation_without_training_runs_has_no_rows_of_them(tmp_path: Path) -> None:
    metrics = summarise(list(cases()), resamples=20)
    known = write_evaluation(tmp_path / "known", content=metrics | {"seen_patients": []})
    page = page_of(tmp_path / "docs", known)
    assert not {"training time", "samples seen"} & set(rows_of(page))
    assert "The weights measured were not trained on any of these patients." in page
    assert "its model card says which" not in page
    other = write_evaluation(tmp_path / "other", content=metrics | {"seen_patients": ["a"]})
    page = page_of(tmp_path / "both", known, other)
    assert "not trained on any" not in page
    assert "other measured the weights of the bundle; its model card says which" in page


def test_a_mean_of_networks_counts_the_training_of_all_of_them(tmp_path: Path) -> None:
    runs = [write_training(tmp_path / name, network=name) for name in ("unet", "vnet")]
    both = write_evaluation(tmp_path / "test", weights=b"1", networks=("unet", "vnet"))
    page = page_of(tmp_path / "docs", *runs, both)
    assert rows_of(page)["training time"] == ["3 min"]
    assert "Mean of UNet, VNet" in page


def test_runs_are_not_those_of_the_weights_that_the_bundle_brings(tmp_path: Path) -> None:
    page = page_of(tmp_path / "docs", write_training(tmp_path / "run"), write_evaluation(tmp_path / "test"))
    assert rows_of(page)["training time"] == rows_of(page)["samples seen"] == [""]


def test_a_run_and_pictures_go_by_the_name_given(tmp_path: Path) -> None:
    run, test = write_training(tmp_path / "run"), write_evaluation(tmp_path / "test", weights=b"1")
    words = {"en": "mine: low, p 1 ES", "fa": "mine: پایین، p 1 ES"}
    for code, caption in words.items():
        output = tmp_path / code
        write_report(
            [run, test], output, language=code, formats=[Format.HTML], labels={run: "mine", test: "mine"}
        )
        text = re.sub("<[^>]*>", "", (output / "report.html").read_text(encoding="utf-8"))
        assert read_language(code)("training.title", name="mine") in text
        assert caption in text


def test_a_value_that_is_not_defined_is_an_empty_cell(tmp_path: Path) -> None:
    metrics = summarise(list(cases()), resamples=20)
    metrics["summary"]["hd95_mm"]["rv"] = metrics["intervals"]["hd95_mm"]["rv"] = None
    page = page_of(tmp_path / "docs", write_evaluation(tmp_path / "test", content=metrics))
    assert rows_of(page)["HD95 RV, mm"] == [""]


def test_an_evaluation_that_does_not_record_its_weights_says_so(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "test")
    (folder / "manifest.json").unlink()
    assert "test does not record which weights it measured." in page_of(tmp_path / "docs", folder)
