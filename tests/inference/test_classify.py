import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.datasets.xray_image import Finding, read_xray
from pipelines.inference.classify import classify, find_xrays
from pipelines.models.bundle import load_config
from pipelines.models.weights import read_threshold, save_weights, write_threshold
from pipelines.models.xray import Classifier


class BrightIsPneumonia(torch.nn.Module):
    """Logits from the mean of the picture: 0 where it is mean grey of ImageNet."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        mean = image.mean(dim=(1, 2, 3))
        return torch.stack((-20 * mean, 20 * mean), dim=1)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("weights") / "model.pt"
    save_weights(load_config("resnet18_tuned").get_parsed_content("network_def"), path)
    return path


@pytest.fixture
def classifier(weights: Path) -> Classifier:
    found = Classifier.load("resnet18_tuned", weights=weights, precision="fp32", device="cpu")
    found.network = BrightIsPneumonia()
    return found


def save(path: Path, level: float, size: tuple[int, int] = (224, 224)) -> Path:
    """A chest of this mean grey."""
    path.parent.mkdir(parents=True, exist_ok=True)
    chest = phantom_xray(np.random.default_rng(0))
    pixels = np.round(255 * (level + 0.2 * (chest - chest.mean()))).astype(np.uint8)
    Image.fromarray(pixels).resize(size).save(path)
    return path


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_each_image_has_a_row_with_its_decision(tmp_path: Path, classifier: Classifier) -> None:
    save(tmp_path / "in" / "dark.png", 0.2)
    save(tmp_path / "in" / "deep" / "bright.jpeg", 0.8, (300, 180))
    report = classify([tmp_path / "in"], tmp_path / "out", classifier)
    found = {result.image.name: result for result in report.results}
    assert found["dark.png"].decision is Finding.NORMAL
    assert found["dark.png"].probability < 0.01
    assert found["bright.jpeg"].decision is Finding.PNEUMONIA
    rows = rows_of(report.table)
    assert [row["decision"] for row in rows] == ["NORMAL", "PNEUMONIA"]
    assert all("contrast" in row["warnings"] for row in rows)


def test_a_broken_file_is_reported_and_the_rest_goes_on(tmp_path: Path, classifier: Classifier) -> None:
    save(tmp_path / "in" / "a.png", 0.8)
    (tmp_path / "in" / "b.jpeg").write_text("text", encoding="utf-8")
    report = classify([tmp_path / "in"], tmp_path / "out", classifier)
    assert len(report.results) == 1
    assert "expected a whole JPEG, PNG or DICOM image" in report.problems[0].reason
    assert rows_of(report.table)[1]["decision"] == ""
    assert "b.jpeg" in rows_of(report.table)[1]["problem"]


def test_what_is_no_frontal_chest_film_has_a_row_without_a_verdict(
    tmp_path: Path, classifier: Classifier
) -> None:
    Image.open(save(tmp_path / "upright.png", 0.3)).rotate(180).save(tmp_path / "turned.png")
    report = classify([tmp_path], tmp_path / "out", classifier)
    assert [one.decision is None for one in report.results] == [True, False]
    turned, upright = rows_of(report.table)
    assert (turned["decision"], turned["problem"]) == ("", "")
    assert 0 <= float(turned["probability_pneumonia"]) <= 1
    assert "no verdict: it hardly looks like a chest" in turned["warnings"]
    assert "no verdict" not in upright["warnings"]


def test_nothing_readable_is_an_error_that_names_the_table(tmp_path: Path, classifier: Classifier) -> None:
    (tmp_path / "a.jpeg").write_bytes(b"")
    with pytest.raises(DataError, match=r"found none of 1: .*classification\.csv"):
        classify([tmp_path / "a.jpeg"], tmp_path / "out", classifier)


def test_missing_and_empty_inputs_are_reported(tmp_path: Path, classifier: Classifier) -> None:
    with pytest.raises(DataError, match="found nothing at"):
        classify([tmp_path / "none"], tmp_path / "out", classifier)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="expected files that end in"):
        classify([tmp_path / "empty"], tmp_path / "out", classifier)
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(OutputError):
        classify([tmp_path / "empty"], tmp_path / "file", classifier)


def test_an_image_given_twice_is_classified_once(tmp_path: Path) -> None:
    image = save(tmp_path / "a.png", 0.5)
    assert find_xrays([image, tmp_path]) == [image]


def test_pictures_of_all_formats_and_dicom_without_a_suffix_are_found_in_a_folder(tmp_path: Path) -> None:
    names = ["a.JPG", "b.tif", "c.bmp", "d.webp", "sub/IM0001"]
    (tmp_path / "sub").mkdir()
    for name in [*names, "notes.txt", "DICOMDIR", ".hidden.png"]:
        (tmp_path / name).write_bytes(b"\0" * 128 + b"DICM" if "I" in name else b"x")
    assert [str(path.relative_to(tmp_path)) for path in find_xrays([tmp_path])] == names


def test_the_threshold_decides(tmp_path: Path, weights: Path) -> None:
    strict = Classifier.load("resnet18_tuned", weights=weights, threshold=0.999, precision="fp32")
    strict.network = BrightIsPneumonia()
    report = classify([save(tmp_path / "a.png", 0.48)], tmp_path / "out", strict)
    assert report.results[0].probability > 0.9
    assert report.results[0].decision is Finding.NORMAL


def test_the_threshold_beside_the_weights_is_taken(tmp_path: Path, weights: Path) -> None:
    copy = tmp_path / "model.pt"
    copy.write_bytes(weights.read_bytes())
    assert Classifier.load("resnet18_tuned", weights=copy).threshold == 0.5
    write_threshold(tmp_path, 0.37, chosen_on="validation")
    assert Classifier.load("resnet18_tuned", weights=copy).threshold == 0.37
    assert Classifier.load("resnet18_tuned", weights=copy, threshold=0.6).threshold == 0.6
    (tmp_path / "operating_point.json").write_text(json.dumps({"other": 1}), encoding="utf-8")
    with pytest.raises(ConfigError, match="expected a threshold in"):
        read_threshold(tmp_path)
    with pytest.raises(ConfigError, match="between 0 and 1, found 1.5"):
        Classifier.load("resnet18_tuned", weights=copy, threshold=1.5)


def test_a_network_gives_the_same_probability_alone_and_in_a_batch(weights: Path) -> None:
    classifier = Classifier.load("resnet18_tuned", weights=weights, precision="fp32")
    images = [phantom_xray(np.random.default_rng(seed)) for seed in range(3)]
    together = classifier.probabilities(images)
    alone = [classifier.probability(image) for image in images]
    assert together == pytest.approx(alone, abs=1e-5)
    assert ((together > 0) & (together < 1)).all()


def test_the_size_of_the_file_does_not_matter(tmp_path: Path, weights: Path) -> None:
    classifier = Classifier.load("resnet18_tuned", weights=weights, precision="fp32")
    pixels = np.uint8(255 * phantom_xray(np.random.default_rng(0)))
    Image.fromarray(pixels).save(tmp_path / "small.png")
    Image.fromarray(np.kron(pixels, np.ones((3, 3), np.uint8))).save(tmp_path / "large.png")
    small, large = (read_xray(tmp_path / name).pixels for name in ("small.png", "large.png"))
    assert classifier.probability(small) == pytest.approx(classifier.probability(large), abs=1e-4)


def test_pictures_in_other_formats_are_read_or_have_a_row(tmp_path: Path, classifier: Classifier) -> None:
    save(tmp_path / "in" / "film.gif", 0.5)
    (tmp_path / "in" / "phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    classify([tmp_path / "in"], tmp_path / "out", classifier)
    first, second = rows_of(tmp_path / "out" / "classification.csv")
    assert first["image"].endswith("film.gif")
    assert not first["problem"]
    assert second["image"].endswith("phone.heic")
    assert "its content is none of them" in second["problem"]
