import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from small_hearts import heart_label, save, write_heart
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.core.errors import DataError
from pipelines.core.records import Dataset
from pipelines.datasets.acdc import read_acdc
from pipelines.datasets.readers import READERS
from pipelines.exploration.heart_survey import survey_hearts
from pipelines.reporting.eda_results import write_eda_results
from pipelines.reporting.heart_eda_page import page_sections
from pipelines.reporting.html import Picture

FOLDERS = {f"patient{number:03d}": part for number, part in enumerate((0, 0, 0, 1, 1, 1, 2, 2, 2), start=1)}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Nine patients of two groups; one with a hole in its label, one broken, one as bright as ten."""
    folder = tmp_path_factory.mktemp("data")
    for number in range(1, 10):
        write_heart(folder, number, "NOR" if number % 2 else "DCM", gain=10.0 if number == 5 else 1.0)
    label = heart_label()
    label[28, 20, 1] = 0
    save(folder / "patient001" / "patient001_frame01_gt.nii.gz", label)
    (folder / "patient002" / "patient002_frame03.nii.gz").write_bytes(b"broken")
    return folder


@pytest.fixture(scope="module")
def split(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder explored with a split; the labels of its test patients are not there."""
    prepared = tmp_path_factory.mktemp("prepared")
    output = tmp_path_factory.mktemp("split")
    volumes = []
    for patient, fold in FOLDERS.items():
        for phase, frame in (("ED", 1), ("ES", 3)):
            image = root / patient / f"{patient}_frame{frame:02d}.nii.gz"
            label = root / patient / f"{patient}_frame{frame:02d}_gt.nii.gz"
            volumes.append(
                {
                    "image": str(image),
                    "label": str(prepared / "closed.nii.gz" if fold == 2 else label),
                    "patient": patient,
                    "group": "NOR" if int(patient[-1]) % 2 else "DCM",
                    "phase": phase,
                    "frame": frame,
                    "spacing_mm": [2.0, 2.0, 10.0],
                    "part": "test" if fold == 2 else fold,
                    "fingerprint": "0",
                }
            )
    aside = [{"patient": "patient099", "path": "patient099", "reason": "expected a heart"}]
    (prepared / "datalist.json").write_text(json.dumps({"volumes": volumes, "put_aside": aside}))
    run("eda", "acdc", str(prepared), "--output", str(output))
    return output


def run(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def page_of(folder: Path) -> str:
    return (folder / "eda.html").read_text(encoding="utf-8")


def test_findings_stand_first_and_each_says_what_to_decide(split: Path) -> None:
    page = page_of(split)
    headings = re.findall(r"<h2[^>]*>([^<]+)</h2>", page)
    assert headings[0] == "Findings that need a decision"
    found = json.loads((split / "eda.json").read_text())["findings"]
    assert found[0]["urgency"] == "before training"
    assert all(item["found"] and item["decide"] for item in found)
    assert "patient002" in found[0]["found"]


def test_the_page_holds_every_part_and_asks_nobody_for_anything(split: Path) -> None:
    page = page_of(split)
    for heading in ("Counts", "Intensity and noise", "Structures", "Label quality", "Outliers", "Duplicates"):
        assert f">{heading}</h2>" in page
    assert "17 volumes of 9 patients" in page
    assert "LV and myocardium enclose background (1 px) in slice 2" in page
    assert re.findall(r'(?:src|href)="(?!data:|#)', page) == []


def test_the_table_has_a_row_for_each_volume_that_could_be_read(split: Path) -> None:
    table = pd.read_csv(split / "survey.csv")
    assert len(table) == 17
    assert table.patient.nunique() == 9
    assert table.section.value_counts().to_dict() == {"training": 6, "test": 6, "validation": 5}
    first = table.iloc[0]
    assert first.lv_voxels == np.count_nonzero(heart_label() == 3) - 1
    assert first.lv_ml == pytest.approx(0.04 * first.lv_voxels)


def test_a_patient_as_bright_as_ten_is_an_outlier_with_a_picture(split: Path) -> None:
    outliers = json.loads((split / "eda.json").read_text())["outliers"]
    assert {item["volume"] for item in outliers[:2]} == {"patient005 ED", "patient005 ES"}
    assert re.search(r"<figcaption>patient005 E[DS], NOR: [^<]*99th percentile of intensity", page_of(split))


def test_tensorboard_has_figures_histograms_and_findings(split: Path) -> None:
    events = EventAccumulator(str(split / "tensorboard"))
    events.Reload()
    tags = events.Tags()
    assert {"Samples", "Class balance", "Volumes by group and phase"} <= set(tags["images"])
    assert {"snr_image", "lv_ml"} <= set(tags["histograms"])
    assert any("findings" in tag for tag in tags["tensors"])


def test_with_a_split_the_sections_are_compared_and_labels_of_the_test_stay_closed(split: Path) -> None:
    content = json.loads((split / "eda.json").read_text())
    assert content["labels"] == {"read": 11, "held out": 6}
    assert content["sections"] == {
        "DCM": {"training": 2, "validation": 1, "test": 1},
        "NOR": {"training": 1, "validation": 2, "test": 2},
    }
    compared = {shift["feature"] for shift in content["shifts"]}
    assert "snr_image" in compared
    assert compared.isdisjoint({"lv_ml", "rv_ml", "myo_ml", "snr_blood", "cnr"})
    assert [item["patient"] for item in content["put_aside"]] == ["patient099", "patient002"]
    page = page_of(split)
    assert "6 labels of the test section were not opened." in page
    assert "Kolmogorov-Smirnov" in page


def test_the_results_page_has_the_figures_and_no_picture_of_a_patient(split: Path, tmp_path: Path) -> None:
    page = write_eda_results(split, tmp_path, name="few").read_text(encoding="utf-8")
    linked = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", page)
    assert sorted(name for _, name in linked) == sorted(path.name for path in tmp_path.glob("*.png"))
    assert "Samples" not in dict(linked)
    assert "# The data: Automated Cardiac Diagnosis Challenge" in page
    assert "Sections of the split" in dict(linked)
    assert str(split) not in page
    assert "/patient002/" not in page


def test_without_a_split_the_page_says_how_to_get_one(root: Path) -> None:
    survey = survey_hearts(Dataset(read_acdc(root).patients[:1], []))
    figures = dict.fromkeys(
        ("Samples", "Grid and field of view", "Acquisition by group", "Intensity and noise"),
        Picture(root, ""),
    )
    overlays: dict[str, list[Picture]] = {"labels": [], "outliers": []}
    sections = page_sections(survey, survey.frame(), [], [], [], pictures=figures, overlays=overlays)
    words = {section.title: section.paragraphs for section in sections}
    assert words["Findings that need a decision"] == ["None by the rules of this page."]
    assert "Make one with 'thorax prepare'" in words["How close training, validation and test are"][0]


def test_the_results_page_needs_an_exploration(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="survey.csv of 'thorax eda', found .*; explore again"):
        write_eda_results(tmp_path, tmp_path)


def test_every_reader_has_its_command() -> None:
    commands = run("eda", "--help")
    assert all(name in commands for name in READERS)
