"""A model is measured once on the same patients, and never mistaken for another."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.records import PatientRecord, Phase, VolumeRecord
from pipelines.evaluation import models as module
from pipelines.evaluation.models import Model, evaluate_models, parameters_of


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Names of the folders that were measured; nothing is segmented."""
    names: list[str] = []
    monkeypatch.setattr(module, "evaluate", lambda root, folder, *_, **__: names.append(folder.name))
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
    with pytest.raises(ConfigError, match=r"found other tta; give the model another name"):
        evaluate_models([Model.parse("a=vnet+tta")], patients, tmp_path / "out", root=tmp_path)
    with pytest.raises(ConfigError, match=r"found other volumes_hash"):
        evaluate_models([Model.parse("a=vnet")], patients[:1], tmp_path / "out", root=tmp_path)
    with pytest.raises(ConfigError, match="models of different names"):
        evaluate_models([Model.parse("a=vnet")] * 2, patients, tmp_path / "other", root=tmp_path)


def test_an_ensemble_has_the_parameters_of_its_members() -> None:
    both = Model.parse("both=vnet+vnet").description()
    assert both["parameters"] == 2 * parameters_of("vnet")
    assert both["networks"] == ["vnet", "vnet"]
