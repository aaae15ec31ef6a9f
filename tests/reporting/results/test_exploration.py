import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from small_hearts import heart_label, save, write_heart
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from typer.testing import CliRunner

from pipelines.cli.main import app
from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.exploration.xray import survey_xrays
from pipelines.reporting.document import Format, read_language
from pipelines.reporting.report import write_report
from pipelines.reporting.results.exploration import LABEL_WORDS, NO_SPLIT_WORDS, SHIFT_WORDS

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
    (prepared / "datalist.json").write_text(
        json.dumps({"volumes": volumes, "put_aside": aside}), encoding="utf-8"
    )
    run("explore", "acdc", str(prepared), "--output", str(output))
    return output


def run(*words: str) -> str:
    result = CliRunner().invoke(app, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def page_of(folder: Path) -> str:
    return (folder / "eda.html").read_text(encoding="utf-8")


def test_findings_stand_first_and_each_says_what_to_decide(split: Path) -> None:
    page = page_of(split)
    captions = re.findall(r"<caption>([^<]+)</caption>", page)
    assert captions[0] == "Findings that need a decision"
    found = json.loads((split / "eda.json").read_text(encoding="utf-8"))["findings"]
    assert found[0]["urgency"] == "before training"
    assert all(item["found"] and item["decide"] for item in found)
    assert "patient002" in found[0]["found"]


def test_the_page_holds_every_part_and_asks_nobody_for_anything(split: Path) -> None:
    page = page_of(split)
    for heading in (
        "Grid, field of view and orientation",
        "Intensity and noise",
        "Structures",
        "Label quality",
        "Outliers",
        "Duplicates",
    ):
        assert f">{heading}</h2>" in page
    assert "9 patients, 17 volumes" in page
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
    outliers = json.loads((split / "eda.json").read_text(encoding="utf-8"))["outliers"]
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
    content = json.loads((split / "eda.json").read_text(encoding="utf-8"))
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
    assert "6 labels of the test set were not opened." in page
    assert "Kolmogorov-Smirnov" in page


def test_the_markdown_page_has_the_plots_and_no_picture_of_a_patient(split: Path, tmp_path: Path) -> None:
    write_report([split], tmp_path / "few.md")
    page = (tmp_path / "few.md").read_text(encoding="utf-8")
    linked = re.findall(r"!\[([^]]+)\]\(([^)]+)\)", page)
    assert sorted(name for _, name in linked) == sorted(path.name for path in tmp_path.glob("*.png"))
    assert "Samples" not in dict(linked)
    assert "Exploration of Automated Cardiac Diagnosis Challenge" in page
    assert "Distributions by split" in dict(linked)
    assert str(split) not in page
    assert "/patient002/" not in page


def test_a_renamed_exploration_gives_the_same_page(split: Path, tmp_path: Path) -> None:
    moved = shutil.copytree(split, tmp_path / "other name")
    pages = [tmp_path / name / "page.md" for name in ("before", "after")]
    for folder, page in zip((split, moved), pages, strict=True):
        write_report([folder], page)
    assert pages[0].read_text(encoding="utf-8") == pages[1].read_text(encoding="utf-8")


def test_without_a_split_the_page_says_how_to_get_one(root: Path, tmp_path: Path) -> None:
    run("explore", "acdc", str(root), "--output", str(tmp_path))
    page = page_of(tmp_path)
    assert "Make one with &#39;thorax prepare&#39;" in page


def test_the_page_needs_the_table_of_the_exploration(split: Path, tmp_path: Path) -> None:
    shutil.copy(split / "eda.json", tmp_path / "eda.json")
    with pytest.raises(DataError, match="survey.csv of 'thorax explore', found .*; run it again"):
        write_report([tmp_path], tmp_path / "page.md")


def save_xray(path: Path, seed: int, *, width: int = 64, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.uint8(255 * phantom_xray(np.random.default_rng(seed), side_px=64))
    Image.fromarray(pixels).convert(mode).resize((width, 64)).save(path)


@pytest.fixture
def xrays(tmp_path: Path) -> Path:
    """Three healthy patients, one with two images, three with pneumonia; two copies, a broken file."""
    folder = tmp_path / "data"
    save_xray(folder / "NORMAL" / "IM-0001-0001.png", 1)
    save_xray(folder / "NORMAL" / "IM-0001-0002.png", 2, width=128)
    save_xray(folder / "NORMAL" / "IM-0002-0001.png", 3, mode="RGB")
    save_xray(folder / "NORMAL" / "IM-0003-0001.png", 1)
    save_xray(folder / "PNEUMONIA" / "person1_virus_1.png", 4)
    save_xray(folder / "PNEUMONIA" / "person2_bacteria_1.png", 5)
    near = np.asarray(Image.open(folder / "NORMAL" / "IM-0002-0001.png").convert("L")).copy()
    near[:2, :8] //= 2
    Image.fromarray(near).save(folder / "PNEUMONIA" / "person3_bacteria_1.png")
    (folder / "PNEUMONIA" / "person4_virus_1.png").write_text("text", encoding="utf-8")
    return folder


def test_survey_counts_copies_near_duplicates_and_what_is_broken(xrays: Path) -> None:
    survey = survey_xrays(xrays)
    names = [image.record.image.name for image in survey.images]
    assert len(names) == 7
    assert [(names[i], names[j]) for i, j in survey.copies] == [("IM-0001-0001.png", "IM-0003-0001.png")]
    assert [(names[i], names[j]) for i, j in survey.near] == [("IM-0002-0001.png", "person3_bacteria_1.png")]
    assert survey.images_per_patient()["IM-0001"] == 2
    assert [problem.patient for problem in survey.problems] == ["person4"]


def test_measures_are_those_of_the_pixels(xrays: Path) -> None:
    images = {image.record.image.name: image for image in survey_xrays(xrays).images}
    wide = images["IM-0001-0002.png"]
    assert (wide.width_px, wide.height_px, wide.aspect) == (128, 64, 2.0)
    assert images["IM-0002-0001.png"].mode == "RGB"
    pixels = np.asarray(Image.open(xrays / "NORMAL" / "IM-0001-0001.png")) / 255
    assert images["IM-0001-0001.png"].brightness == pytest.approx(pixels.mean(), abs=1e-4)
    assert images["IM-0001-0001.png"].contrast == pytest.approx(pixels.std(), abs=1e-4)


def test_page_and_tensorboard_hold_what_was_found(xrays: Path, tmp_path: Path) -> None:
    run("explore", "chest-xray", str(xrays), "--output", str(tmp_path / "out"))
    page = (tmp_path / "out" / "eda.html").read_text(encoding="utf-8")
    assert "7 chest radiographs of 6 patients" in page
    for heading in ("Counts", "Sizes", "Patients", "Samples", "Duplicates", "Skipped"):
        assert f">{heading}</h2>" in page
    assert "1 exact copies, and 1 further pairs" in page
    assert "different findings" in page
    assert page.count("data:image/png;base64,") == 3 + 3  # figures; samples of normal, bacteria, virus
    assert re.search(r"normal</th>\s*<td[^>]*>4</td>", page)
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert "samples: normal" in events.Tags()["images"]
    assert "aspect" in events.Tags()["histograms"]
    table = pd.read_csv(tmp_path / "out" / "survey.csv")
    assert table.groupby("finding").size().to_dict() == {"normal": 4, "pneumonia": 3}
    write_report([tmp_path / "out"], tmp_path / "fa", language="fa", formats=[Format.HTML])
    drawn = re.findall(r"base64,([^\"]+)", (tmp_path / "fa" / "report.html").read_text(encoding="utf-8"))
    written = base64.b64encode((tmp_path / "out" / "plots" / "1.png").read_bytes()).decode()
    assert written in page
    assert len(drawn) == 6
    assert written not in drawn  # its axes are in the language of the report


def test_what_there_is_none_of_has_no_empty_table(xrays: Path, tmp_path: Path) -> None:
    for name in (
        "NORMAL/IM-0003-0001.png",
        "PNEUMONIA/person3_bacteria_1.png",
        "PNEUMONIA/person4_virus_1.png",
    ):
        (xrays / name).unlink()
    run("explore", "chest-xray", str(xrays), "--output", str(tmp_path / "out"))
    page = (tmp_path / "out" / "eda.html").read_text(encoding="utf-8")
    assert "Pairs of the same image" not in page
    assert "No file was skipped." in page


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    for name in ("NORMAL/IM-0001-0001.png", "PNEUMONIA/person1_virus_1.png"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text("text", encoding="utf-8")
    with pytest.raises(DataError, match="expected a readable radiograph below"):
        survey_xrays(tmp_path)


@pytest.mark.parametrize("words", [NO_SPLIT_WORDS, SHIFT_WORDS, LABEL_WORDS])
def test_notes_of_the_page_are_there_in_persian(words: str) -> None:
    assert not re.search("[a-z]+ [a-z]+ [a-z]+", read_language("fa").translated(words))
