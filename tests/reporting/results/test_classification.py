import json
import re
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from pptx import Presentation
from report_folders import page_of, rows_of

from pipelines.core.errors import DataError
from pipelines.evaluation.classification import PairedScore
from pipelines.reporting.document import Format, read_language
from pipelines.reporting.markdown import block_marks
from pipelines.reporting.report import write_report
from pipelines.reporting.results.classification import PICTURES, SCORES, verdict

HISTORY = "epoch,iteration,train_loss,val_auroc\n1,10,1.0,0.91\n2,20,0.5,0.97\n"


def write_run(folder: Path) -> Path:
    folder.mkdir(parents=True)
    command = ["__main__.py", "run", "training", "--args_file", "configs/args_resnet18.yaml"]
    manifest = {"command": [*command, "--dataset_dir", "/here/prep"], "network": "resnet18"}
    manifest |= {"batch_size": 96, "seconds": 120.0}
    (folder / "manifest.json").write_text(
        json.dumps({**manifest, "precision": "None", "threads": 2}), encoding="utf-8"
    )
    (folder / "history.csv").write_text(HISTORY, encoding="utf-8")
    return folder


def write_evaluation(folder: Path, *, accuracy: float = 0.95, leaks: bool = False, wrong: int = 0) -> Path:
    folder.mkdir(parents=True)
    summary: dict[str, Any] = dict.fromkeys(SCORES, 0.9) | {"accuracy": accuracy, "ece": 0.02}
    summary |= {"threshold": 0.41, "images": 20, "patients": 12, "confusion_matrix": [[8, 2], [1, 9]]}
    intervals = {name: [0.85, 0.99] for name in SCORES}
    cases = []
    for index in range(20):
        truth, other = ("NORMAL", "PNEUMONIA") if index % 2 else ("PNEUMONIA", "NORMAL")
        decision = truth if index >= wrong else other
        case = {"image": f"{index}.png", "patient": f"p{index}", "finding": truth, "decision": decision}
        cases.append(case | {"probability": 0.9 if decision == "PNEUMONIA" else 0.1})
    curve = [{"share": 0.9, "probability": 0.9, "images": 20}]
    metrics = {"summary": summary, "intervals": intervals, "cases": cases, "calibration": curve}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    command = ["thorax", "evaluate", "/here/prep", "--output", "/there/test"]
    manifest = {"networks": ["resnet18"], "leaks_patients": leaks, "command": command}
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    for name in PICTURES:
        Image.new("L", (4, 4)).save(folder / f"{name}.png")
    return folder


def test_page_has_the_scores_with_their_intervals(tmp_path: Path) -> None:
    evaluation = write_evaluation(tmp_path / "base", accuracy=0.956)
    text = page_of(tmp_path / "docs", write_run(tmp_path / "run"), evaluation)
    assert "| accuracy | 0.956 (0.850 to 0.990) |" in text
    assert "9 of 10 images with pneumonia were found, 2 of 10 normal ones called pneumonia" in text
    assert "| run | resnet18 | 2 | 1,920 |" in text
    assert "0.9700" in text
    assert "thorax evaluate /path/to/prepared --output runs/test" in text
    assert "/here" not in text
    assert all((tmp_path / "docs" / f"page-{name}.png").is_file() for name in PICTURES)


def test_sections_without_a_folder_stay_as_they_are(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    names = ("accuracy", "errors", "runs", "search")
    blocks = "\n".join("\nold\n".join(block_marks(name)) for name in names)
    page.write_text(f"# Mine\n\nRead with care.\n\n{blocks}\n", encoding="utf-8")
    search = tmp_path / "search"
    search.mkdir()
    (search / "trials.csv").write_text("trial,auroc\na,0.9\n", encoding="utf-8")
    text = page_of(tmp_path, write_run(tmp_path / "run"), write_evaluation(tmp_path / "base"), search)
    assert "Read with care." in text
    assert "\nold\n".join(block_marks("errors")) in text
    assert "The 1 best of 1 trials" in text
    assert text.count("\nold\n") == 1


def test_a_split_that_leaks_patients_is_named_as_such(tmp_path: Path) -> None:
    evaluations = [
        write_evaluation(tmp_path / "base"),
        write_evaluation(tmp_path / "by_image", accuracy=0.98, leaks=True),
    ]
    text = page_of(tmp_path / "docs", *evaluations)
    assert "| base | by_image, split by image: leaks patients |" in text


@pytest.mark.parametrize("code", ["en", "fa"])
def test_a_report_names_the_films_that_the_manifest_names_and_no_others(code: str, tmp_path: Path) -> None:
    for source in ("", "A, 2020, CC BY 4.0"):
        folder = write_evaluation(tmp_path / (source[:1] or "unnamed"))
        manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8")) | {"source": source}
        (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
        write_report([folder], folder / "page", language=code, formats=[Format.HTML])
        text = (folder / "page" / "report.html").read_text(encoding="utf-8")
        named = read_language(code)("limits.xray_source", source=source)
        assert (named in re.sub(r"<[^>]+>", "", text)) == bool(source)
        assert "Kermany" not in text


def test_recipes_are_compared_over_their_seeds(tmp_path: Path) -> None:
    labels = {write_evaluation(tmp_path / f"base{seed}", wrong=6): "base" for seed in range(2)}
    labels |= {write_evaluation(tmp_path / f"tuned{seed}", wrong=1): "tuned" for seed in range(2)}
    text = page_of(tmp_path / "docs", *labels, labels=labels)
    assert "| accuracy | 0.7000, 0.7000 | 0.9500, 0.9500 | +0.2500 (" in text
    assert "tuned **beats** base in accuracy." in text


@pytest.mark.parametrize("language", ["en", "fa"])
def test_marks_of_markdown_stand_in_no_other_medium(language: str, tmp_path: Path) -> None:
    labels = {write_evaluation(tmp_path / "base", wrong=6): "base"}
    labels |= {write_evaluation(tmp_path / "tuned", wrong=1): "tuned"}
    forms = [Format.HTML, Format.PPTX]
    write_report(list(labels), tmp_path / "out", language=language, formats=forms, labels=labels)
    slides = Presentation(str(tmp_path / "out" / "slides.pptx")).slides
    texts = [shape.text_frame.text for slide in slides for shape in slide.shapes if shape.has_text_frame]
    texts.append((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert ("tuned beats base in accuracy." in texts[-1]) == (language == "en")
    assert [text for text in texts if "**" in text or "`" in text] == []


def test_a_missing_picture_is_an_error(tmp_path: Path) -> None:
    folder = write_evaluation(tmp_path / "base")
    (folder / "roc.png").unlink()
    with pytest.raises(DataError, match=r"expected a picture at .*roc\.png"):
        page_of(tmp_path / "docs", folder)


def score(name: str, low: float, high: float) -> PairedScore:
    return PairedScore(name, [0.9], [0.9 + (low + high) / 2], (low + high) / 2, [low, high], 0.5)


@pytest.mark.parametrize(
    ("low", "high", "sentence"),
    [
        (0.001, 0.01, "best **beats** base in AUROC."),
        (
            -0.001,
            0.01,
            "In AUROC, best is better on average, but **not significantly**",
        ),
        (
            -0.01,
            0.001,
            "In AUROC, best is worse on average, but **not significantly**",
        ),
        (-0.02, -0.001, "base beats best in AUROC."),
    ],
)
def test_the_verdict_follows_from_the_interval(low: float, high: float, sentence: str) -> None:
    assert sentence in verdict([score("accuracy", -0.1, 0.1), score("auroc", low, high)], "base", "best")


@pytest.mark.parametrize("language", ["en", "fa"])
def test_a_report_on_radiographs_has_their_problem_method_and_curves(language: str, tmp_path: Path) -> None:
    words = read_language(language)
    evaluation = write_evaluation(tmp_path / "test")
    folders = [write_run(tmp_path / "run"), evaluation]
    write_report(folders, tmp_path / "out", language=language, formats=[Format.HTML])
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert f"<h1>{words('report.title_xrays')}" in text
    assert words("problem.xray_aim_3").partition("8")[0].partition("۸")[0] in text
    assert words("training.curves_alt") in text
    assert text.count("data:image/png;base64,") == 1 + len(PICTURES)
    assert ("test: accuracy 0.950, AUROC 0.900 on 12 patients." in text) == (language == "en")


def test_many_evaluations_are_rows_of_a_table_without_curves(tmp_path: Path) -> None:
    folders = [write_evaluation(tmp_path / f"share{index}", accuracy=0.9 + index / 100) for index in range(5)]
    assert page_of(tmp_path / "four", *folders[:4]).count("![") == 4 * len(PICTURES)
    text = page_of(tmp_path / "five", *folders)
    assert "![" not in text
    assert "|  | network | parameters | accuracy |" in text
    assert text.count("threshold chosen on validation") == 0
    assert [row[2][:5] for name, row in rows_of(text).items() if name.startswith("share")] == [
        "0.900",
        "0.910",
        "0.920",
        "0.930",
        "0.940",
    ]
