"""Models on the same patients: what is compared, what is refused, and what is written."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from report_folders import page_of
from scipy.stats import wilcoxon

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import write_json
from pipelines.core.labels import FOREGROUND, AcdcLabel
from pipelines.core.records import Phase
from pipelines.evaluation.cases import Case
from pipelines.evaluation.compare import compare, write_comparison
from pipelines.evaluation.comparison import Figure, compare_models, patient_values
from pipelines.evaluation.metrics import StructureMetrics
from pipelines.evaluation.models import Model
from pipelines.evaluation.summary import summarise
from pipelines.reporting.report import write_result_page

PATIENTS = [f"p{number}" for number in range(6)]
ABSENT = StructureMetrics(None, None, None, None, None, None, None, absent_from="both")


def case(patient: str, phase: Phase, dice: float, lv_ml: float = 100.0, true_lv_ml: float = 100.0) -> Case:
    """All structures have one Dice and one HD95, 10 mm times its gap to 1."""
    scored = StructureMetrics(dice, dice / (2 - dice), dice, dice, dice, 10 * (1 - dice), 1.0)
    volumes = [dict.fromkeys(FOREGROUND, 80.0) | {AcdcLabel.LV: ml} for ml in (lv_ml, true_lv_ml)]
    group = "NOR" if patient < "p3" else "DCM"
    return Case(patient, group, phase, 1, dict.fromkeys(FOREGROUND, scored), *volumes, 0.5)


def model(*dice: float, es_ml: float = 50.0) -> list[Case]:
    """ED has this Dice and ES 0.02 less; the true EF is 50%."""
    cases = []
    for patient, value in zip(PATIENTS, dice, strict=False):
        cases.append(case(patient, Phase.ED, value))
        cases.append(case(patient, Phase.ES, value - 0.02, es_ml, 50.0))
    return cases


GOOD = (0.95, 0.94, 0.93, 0.92, 0.91, 0.90)
BAD = (0.90, 0.90, 0.90, 0.87, 0.85, 0.89)
MODELS = {"bad": model(*BAD, es_ml=40.0), "good": model(*GOOD), "same": model(*GOOD)}


@pytest.fixture(scope="module")
def content() -> dict[str, Any]:
    return compare_models(MODELS, resamples=200)


def pair(content: dict[str, Any], figure: str, structure: str, second: str = "good") -> dict[str, Any]:
    found = [
        row
        for row in content["pairs"]
        if (row["figure"], row["structure"], row["first"], row["second"])
        == (figure, structure, "bad", second)
    ]
    assert len(found) == 1
    return found[0]  # type: ignore[no-any-return]


def test_pairs_are_of_patients_and_not_of_volumes(content: dict[str, Any]) -> None:
    found = pair(content, "dice", "mean")
    gains = np.array(GOOD) - np.array(BAD)
    assert found["patients"] == 6
    assert found["difference"] == pytest.approx(gains.mean())
    assert found["p_value"] == pytest.approx(wilcoxon(np.round(gains, 6)).pvalue)
    assert (found["better"], found["worse"]) == (6, 0)


def test_p_values_are_corrected_over_the_three_pairs_of_a_figure(content: dict[str, Any]) -> None:
    """Two pairs of 2 / 64 and one of equal models: both become 3 * 2 / 64 by the step down."""
    assert pair(content, "dice", "lv")["p_value"] == pytest.approx(2 / 64)
    assert pair(content, "dice", "lv")["p_holm"] == pytest.approx(3 * 2 / 64)


def test_a_smaller_distance_and_a_smaller_error_are_better(content: dict[str, Any]) -> None:
    assert pair(content, "hd95_mm", "rv")["difference"] < 0
    assert pair(content, "hd95_mm", "rv")["better"] == 6
    error = pair(content, "ef_lv", "")
    assert error["difference"] == pytest.approx(-10)  # EF 60 and 50 measured, 50 true
    assert error["better"] == 6
    ranks = {(row["figure"], row["structure"]): row["rank"] for row in content["ranks"]}
    assert ranks["dice", "mean"] == ranks["hd95_mm", "mean"] == ranks["ef_lv", ""] == [3, 1.5, 1.5]


def test_f1_is_not_tested_a_second_time(content: dict[str, Any]) -> None:
    assert "f1" not in {row["figure"] for row in content["pairs"]}
    assert "by definition" in content["definitions"]["f1"]


def test_a_structure_that_no_mask_of_a_patient_has_leaves_the_patient_out() -> None:
    cases = model(*GOOD)
    for found in cases[:2]:
        dict.__setitem__(found.metrics, AcdcLabel.RV, ABSENT)  # type: ignore[arg-type]
    values = patient_values(cases, PATIENTS, Figure("dice", "rv"))
    assert np.isnan(values[0])
    assert values[1] == pytest.approx(0.93)


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (model(*GOOD[:5]), r"other lacks p5_ED, p5_ES"),
        ([*model(*GOOD), case("p9", Phase.ED, 0.9)], r"other also has p9_ED"),
        (
            [case("p0", Phase.ED, 0.9, true_lv_ml=99.0), *model(*GOOD)[1:]],
            r"other has other labels of p0_ED",
        ),
    ],
)
def test_other_patients_are_refused_with_their_names(other: list[Case], words: str) -> None:
    with pytest.raises(DataError, match=words):
        compare_models({"first": model(*GOOD), "other": other})


def test_one_model_is_no_comparison() -> None:
    with pytest.raises(DataError, match="at least two models"):
        compare_models({"first": model(*GOOD)})


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A comparison of evaluations in folders, as `thorax compare` makes it."""
    folder = tmp_path_factory.mktemp("compare")
    for name, cases in MODELS.items():
        (folder / name).mkdir()
        write_json(folder / name / "metrics.json", summarise(cases, resamples=20))
        write_json(
            folder / name / "manifest.json", {"networks": ["vnet"], "threads": 1, "parameters": 4_500_000}
        )
    content = compare([folder / name for name in MODELS], [], folder / "out")
    assert write_comparison(content, folder / "out")
    return folder / "out"


def test_read_evaluations_give_the_figures_of_their_cases(written: Path) -> None:
    content = json.loads((written / "comparison.json").read_text(encoding="utf-8"))
    assert content["models"]["good"]["summary"]["dice"]["lv"] == pytest.approx(np.mean(GOOD) - 0.01)
    assert content["models"]["good"]["cost"] == {
        "parameters": 4_500_000,
        "threads": 1,
        "seconds_per_volume": 0.5,
    }


def test_the_table_has_models_parts_and_structures(written: Path) -> None:
    rows = (written / "comparison.csv").read_text(encoding="utf-8").splitlines()
    assert rows[0] == "model,part,figure,structure,value,low,high,patients"
    parts = {tuple(row.split(",")[:2]) for row in rows[1:]}
    assert parts == {(name, part) for name in MODELS for part in ("all", "ED", "ES", "NOR", "DCM")}
    ef = next(row for row in rows if row.startswith("bad,all,ef_lv,,"))
    assert float(ef.split(",")[4]) == pytest.approx(10)


def test_the_page_has_models_phases_and_groups(written: Path, tmp_path: Path) -> None:
    page = page_of(tmp_path, written)
    assert "| parameters, million | 4.50 | 4.50 | 4.50 |" in page
    assert "0 of 3 pairs differ with a Holm-corrected p below 0.05" in page
    for words in ("By phase", "By disease group", "DCM (3), Dice", "p, Wilcoxon", "Ranks with 95%"):
        assert words in page
    assert (tmp_path / "page-models_paired.png").read_bytes().startswith(b"\x89PNG")
    page = write_result_page(written, tmp_path / "comparison.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 2


def test_a_model_is_read_from_its_text(tmp_path: Path) -> None:
    weights = tmp_path / "best.pt"
    weights.touch()
    text = f"both=unet:{weights}+vnet+tta"
    found = Model.parse(text)
    assert found == Model("both", (("unet", weights), ("vnet", None)), tta=True)
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unet", "expected a model such as"),
        ("a/b=unet", "expected a model such as"),
        ("name=tta", "expected a model such as"),
        ("name=resnet18", "expected a network among unet"),
        ("name=unet:nowhere.pt", r"expected weights at nowhere\.pt"),
    ],
)
def test_a_model_that_cannot_be_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Model.parse(text)


def test_models_need_patients_and_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --dataset-dir"):
        compare([], [Model.parse("a=unet")], tmp_path)
    with pytest.raises(ConfigError, match="different names"):
        compare([tmp_path / "a"], [Model.parse("a=unet")], tmp_path)
