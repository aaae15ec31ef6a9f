import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from pipelines.core.errors import DataError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.exploration.xray_survey import survey_xrays
from pipelines.reporting.xray_eda import explore_xrays


def save(path: Path, seed: int, *, width: int = 64, mode: str = "L") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.uint8(255 * phantom_xray(np.random.default_rng(seed), side_px=64))
    Image.fromarray(pixels).convert(mode).resize((width, 64)).save(path)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three healthy patients, one with two images, three with pneumonia; two copies, a broken file."""
    folder = tmp_path / "data"
    save(folder / "NORMAL" / "IM-0001-0001.png", 1)
    save(folder / "NORMAL" / "IM-0001-0002.png", 2, width=128)
    save(folder / "NORMAL" / "IM-0002-0001.png", 3, mode="RGB")
    save(folder / "NORMAL" / "IM-0003-0001.png", 1)
    save(folder / "PNEUMONIA" / "person1_virus_1.png", 4)
    save(folder / "PNEUMONIA" / "person2_bacteria_1.png", 5)
    near = np.asarray(Image.open(folder / "NORMAL" / "IM-0002-0001.png").convert("L")).copy()
    near[:2, :8] //= 2
    Image.fromarray(near).save(folder / "PNEUMONIA" / "person3_bacteria_1.png")
    (folder / "PNEUMONIA" / "person4_virus_1.png").write_text("text")
    return folder


def test_survey_counts_copies_near_duplicates_and_what_is_broken(root: Path) -> None:
    survey = survey_xrays(root)
    names = [image.record.image.name for image in survey.images]
    assert len(names) == 7
    assert [(names[i], names[j]) for i, j in survey.copies] == [("IM-0001-0001.png", "IM-0003-0001.png")]
    assert [(names[i], names[j]) for i, j in survey.near] == [("IM-0002-0001.png", "person3_bacteria_1.png")]
    assert survey.images_per_patient()["IM-0001"] == 2
    assert [problem.patient for problem in survey.problems] == ["person4"]


def test_measures_are_those_of_the_pixels(root: Path) -> None:
    images = {image.record.image.name: image for image in survey_xrays(root).images}
    wide = images["IM-0001-0002.png"]
    assert (wide.width_px, wide.height_px, wide.aspect) == (128, 64, 2.0)
    assert images["IM-0002-0001.png"].mode == "RGB"
    pixels = np.asarray(Image.open(root / "NORMAL" / "IM-0001-0001.png")) / 255
    assert images["IM-0001-0001.png"].brightness == pytest.approx(pixels.mean(), abs=1e-4)
    assert images["IM-0001-0001.png"].contrast == pytest.approx(pixels.std(), abs=1e-4)


def test_page_and_tensorboard_hold_what_was_found(root: Path, tmp_path: Path) -> None:
    explore_xrays(root, tmp_path / "out")
    page = (tmp_path / "out" / "eda.html").read_text(encoding="utf-8")
    assert "7 chest radiographs of 6 patients" in page
    for heading in ("Counts", "Sizes", "Patients", "Samples", "Duplicates", "Put aside"):
        assert f">{heading}</h2>" in page
    assert "1 exact copies, and 1 further pairs" in page
    assert "different findings" in page
    assert page.count("data:image/png;base64,") == 3 + 3  # figures; samples of normal, bacteria, virus
    assert re.search(r"normal</th>\s*<td[^>]*>4</td>", page)
    events = EventAccumulator(str(tmp_path / "out" / "tensorboard"))
    events.Reload()
    assert "samples: normal" in events.Tags()["images"]
    assert "aspect" in events.Tags()["histograms"]


def test_what_there_is_none_of_has_no_empty_table(root: Path, tmp_path: Path) -> None:
    for name in (
        "NORMAL/IM-0003-0001.png",
        "PNEUMONIA/person3_bacteria_1.png",
        "PNEUMONIA/person4_virus_1.png",
    ):
        (root / name).unlink()
    explore_xrays(root, tmp_path / "out")
    page = (tmp_path / "out" / "eda.html").read_text(encoding="utf-8")
    assert "Pairs of the same image" not in page
    assert "No file was put aside." in page


def test_nothing_readable_is_an_error(tmp_path: Path) -> None:
    for name in ("NORMAL/IM-0001-0001.png", "PNEUMONIA/person1_virus_1.png"):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text("text")
    with pytest.raises(DataError, match="expected a readable radiograph below"):
        survey_xrays(tmp_path)
