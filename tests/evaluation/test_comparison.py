import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from report_folders import page_of
from scipy.stats import kruskal, spearmanr, wilcoxon

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import write_json
from pipelines.core.records import FOREGROUND, AcdcLabel, PatientRecord, Phase, VolumeRecord
from pipelines.evaluation import comparison as module
from pipelines.evaluation.comparison import (
    Figure,
    Model,
    compare,
    compare_models,
    evaluate_models,
    parameters_of,
    patient_values,
    setting_effects,
    write_comparison,
)
from pipelines.evaluation.segmentation import Case, StructureMetrics, summarise
from pipelines.reporting.report import write_result_page
from pipelines.training.search import command_settings, read_scored_settings


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the folders that were measured; nothing is segmented."""
    names: list[str] = []
    monkeypatch.setattr(module, "evaluate_volumes", lambda root, folder, *_, **__: names.append(folder.name))
    monkeypatch.setattr(module, "cost_of_predicting", lambda *_: {"peak_mb": 9.0, "cpu_seconds": 0.5})
    monkeypatch.setattr(Model, "predictor", lambda *_, **__: SimpleNamespace(seen=None))
    return names


def records(folder: Path, *patients: str) -> list[PatientRecord]:
    image = folder / "image.nii.gz"
    image.touch()
    return [
        PatientRecord(name, "NOR", (VolumeRecord(name, "NOR", Phase.ED, 1, (1, 1, 1), image, image),))
        for name in patients
    ]


def test_a_model_is_measured_once(measured: list[str], tmp_path: Path) -> None:
    model, patients = Model.parse("a=vnet"), records(tmp_path, "p1", "p2")
    for _ in range(2):
        folders = evaluate_models([model], patients, tmp_path / "out", root=tmp_path)
    assert measured == ["a"]
    told = json.loads((folders["a"] / "manifest.json").read_text(encoding="utf-8"))
    assert (told["peak_mb"], told["cpu_seconds"], told["parameters"]) == (9.0, 0.5, parameters_of("vnet"))


def test_another_model_or_other_patients_in_its_folder_are_refused(
    measured: list[str], tmp_path: Path
) -> None:
    patients = records(tmp_path, "p1", "p2")
    evaluate_models([Model.parse("a=vnet")], patients, tmp_path / "out", root=tmp_path)
    with pytest.raises(ConfigError, match=r"found other networks, parameters, weights; give"):
        evaluate_models([Model.parse("a=unet")], patients, tmp_path / "out", root=tmp_path)
    with pytest.raises(ConfigError, match=r"found other volumes_hash"):
        evaluate_models([Model.parse("a=vnet")], patients[:1], tmp_path / "out", root=tmp_path)
    with pytest.raises(ConfigError, match="models of different names"):
        evaluate_models([Model.parse("a=vnet")] * 2, patients, tmp_path / "other", root=tmp_path)


def test_an_ensemble_has_the_parameters_of_its_members() -> None:
    both = Model.parse("both=vnet+vnet").description()
    assert both["parameters"] == 2 * parameters_of("vnet")
    assert both["networks"] == ["vnet", "vnet"]


TRIALS = [
    ({"rate": 0.1, "optimizer": "sgd", "epochs": 3}, 0.5),
    ({"rate": 0.01, "optimizer": "adamw", "epochs": 3}, 0.7),
    ({"rate": 0.001, "optimizer": "adamw", "epochs": 3}, 0.8),
    ({"rate": 0.0001, "optimizer": "sgd", "epochs": 3}, 0.9),
    ({"rate": 0.02, "optimizer": "sgd", "epochs": 3}, 0.6),
]


def test_a_number_is_correlated_by_rank_and_names_by_their_means() -> None:
    rate, optimizer = setting_effects(TRIALS)
    assert (rate["setting"], rate["trials"]) == ("rate", 5)
    assert rate["correlation"] == pytest.approx(-1)
    expected = spearmanr([0.1, 0.01, 0.001, 0.0001, 0.02], [0.5, 0.7, 0.8, 0.9, 0.6]).pvalue
    assert rate["p_value"] == pytest.approx(expected, abs=1e-12)
    assert optimizer["correlation"] is None
    assert optimizer["p_value"] == pytest.approx(kruskal([0.7, 0.8], [0.5, 0.9, 0.6]).pvalue)
    assert optimizer["p_holm"] == optimizer["p_value"]
    assert [(part["value"], part["trials"]) for part in optimizer["means"]] == [("adamw", 2), ("sgd", 3)]
    assert [part["mean"] for part in optimizer["means"]] == pytest.approx([0.75, 2 / 3])


def test_what_does_not_vary_has_no_effect_and_three_trials_no_p_value() -> None:
    assert "epochs" not in [effect["setting"] for effect in setting_effects(TRIALS)]
    (rate, _) = setting_effects(TRIALS[:3])
    assert (rate["trials"], rate["p_value"], rate["p_holm"]) == (3, None, None)


def test_many_numbers_are_put_into_thirds() -> None:
    (effect,) = setting_effects([({"rate": float(value)}, float(value)) for value in range(9)])
    assert [(part["value"], part["trials"], part["mean"]) for part in effect["means"]] == [
        ("0 to 2", 3, 1.0),
        ("3 to 5", 3, 4.0),
        ("6 to 8", 3, 7.0),
    ]


def test_settings_come_from_both_kinds_of_commands_without_places() -> None:
    own = ["thorax", "train", "unet", "--dataset-dir", "/a", "--set", "batch_size=4", "--set", "decay=poly"]
    assert command_settings(own) == {"batch_size": 4, "decay": "poly"}
    monai = ["__main__.py", "run", "training", "--output_dir", "/a", "--learning_rate", "1.0e-3", "--fold=2"]
    assert command_settings(monai) == {"learning_rate": 0.001}


def test_runs_are_scored_by_their_best_validation(tmp_path: Path) -> None:
    for number, rate in enumerate((0.1, 0.2)):
        run = tmp_path / f"run{number}"
        run.mkdir()
        rows = f"epoch,iteration,val_mean_dice\n1,5,0.{number + 3}\n2,10,\n3,15,0.{number + 1}\n"
        (run / "history.csv").write_text(rows, encoding="utf-8")
        words = ["thorax", "train", "unet", "--set", f"learning_rate={rate}"]
        (run / "manifest.json").write_text(json.dumps({"command": words}), encoding="utf-8")
    assert read_scored_settings(tmp_path) == [({"learning_rate": 0.1}, 0.3), ({"learning_rate": 0.2}, 0.4)]


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found 0 with a score"):
        read_scored_settings(tmp_path)


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
    text = f"both=unet:{weights}+vnet"
    found = Model.parse(text)
    assert found == Model("both", (("unet", weights), ("vnet", None)))
    assert found.text == text


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("unet", "expected a model such as"),
        ("a/b=unet", "expected a model such as"),
        ("../out=unet", "expected a model such as"),
        ("ACDC=nowhere.pt", "expected a network among unet"),
        ("name=", "expected a network among unet"),
        ("name=resnet18", "expected a network among unet"),
        ("name=unet:nowhere.pt", r"expected weights at nowhere\.pt"),
    ],
)
def test_a_model_that_cannot_be_is_refused(text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        Model.parse(text)


def test_models_need_patients_and_names_of_their_own(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --data"):
        compare([], [Model.parse("a=unet")], tmp_path)
    with pytest.raises(ConfigError, match="different names"):
        compare([tmp_path / "a"], [Model.parse("a=unet")], tmp_path)
