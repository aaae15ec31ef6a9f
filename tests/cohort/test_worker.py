import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from cohort_stand_ins import StandInModel, write_hearts
from intensity_hearts import heart, lv_ml, save

from pipelines.cohort.worker import (
    BEGUN_NAME,
    MASKS_NAME,
    MAX_ATTEMPTS,
    BundleModel,
    CohortStudy,
    CohortWorker,
    Task,
    finished_study,
    list_studies,
    read_results,
)
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import write_text
from pipelines.models.heart import Predictor


def test_what_changes_a_mask_is_in_the_record() -> None:
    plain, fast = (BundleModel(engine=engine).record() for engine in ("pytorch", "openvino"))
    assert json.loads(fast["settings"]) == {"precision": "auto", "engine": "openvino"}
    assert plain["settings"] != fast["settings"]
    assert plain["weights_sha256"] == fast["weights_sha256"]
    assert len(plain["weights_sha256"]) == 64


def test_several_networks_are_recorded_in_their_order() -> None:
    found = BundleModel(("vnet", "unet")).record()
    assert found["networks"] == "vnet unet"
    assert found["weights_sha256"].split()[1] == BundleModel().record()["weights_sha256"]


def test_the_worker_loads_what_was_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(Predictor, "load", lambda networks, **rest: asked.update(networks=networks, **rest))
    BundleModel(("unet",), device="cpu", engine="openvino").load()
    assert asked["networks"] == ("unet",)
    assert (asked["device"], asked["engine"]) == ("cpu", "openvino")


def test_missing_weights_are_reported_before_a_cluster_is_started(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected weights at .*gone\.pt, found No such file"):
        BundleModel(weights=tmp_path / "gone.pt").record()


MODEL = StandInModel()


def worker(output: Path, model: StandInModel = MODEL) -> CohortWorker:
    return CohortWorker(model, str(output), 1, model.record())


def batch(*tasks: Task) -> dict[str, list[str]]:
    rows = [task.as_row() for task in tasks]
    return {name: [row[name] for row in rows] for name in rows[0]}


def test_rows_hold_indices_seconds_bytes_and_versions(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 2)
    studies, _ = list_studies(tmp_path / "in")
    assert worker(tmp_path / "out")(batch(Task("p", tuple(studies)))) == {
        "studies": [2],
        "failed": [0],
        "fault": [""],
    }
    row = read_results(tmp_path / "out").to_pylist()[0]
    assert (row["study"], row["frame_ed"], row["frame_es"], row["error"]) == ("heart000", 1, 2, None)
    assert row["lv_edv_ml"] == pytest.approx(lv_ml(8), abs=0.01)
    assert row["lv_ef_percent"] == pytest.approx(100 * (1 - 25 / 64), abs=0.01)
    assert row["plausible"] is (row["warnings"] == [])
    assert 0 < row["predict_s"] + row["read_s"] < row["seconds"]
    assert row["bytes_read"] == (tmp_path / "in" / "heart000.nii").stat().st_size
    assert (row["networks"], row["weights_sha256"], row["attempts"]) == ("stand-in", "0", 1)
    assert json.loads(row["packages"])["torch"]
    (mask,) = row["masks"]
    assert row["bytes_written"] == (tmp_path / "out" / mask).stat().st_size
    assert mask.startswith(f"{MASKS_NAME}/")
    shown = np.asarray(nib.load(tmp_path / "out" / mask).dataobj)
    np.testing.assert_array_equal(shown[..., 0], np.round(heart(8) / 100))
    assert not list((tmp_path / "out" / BEGUN_NAME).iterdir())


def test_bad_studies_have_a_row_with_the_reason_and_stop_nothing(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 2, broken=(0,))
    (tmp_path / "in" / "half.nii").write_bytes((tmp_path / "in" / "heart001.nii").read_bytes()[:400])
    both = (str(tmp_path / "in" / "heart000.nii"), str(tmp_path / "in" / "heart001.nii"))
    studies = (
        *list_studies(tmp_path / "in")[0],
        CohortStudy("gone", "gone", (str(tmp_path / "gone.nii"),)),
        CohortStudy("two", "two", both),
    )
    answer = worker(tmp_path / "out")(batch(Task("p", studies)))
    assert (answer["studies"], answer["failed"], answer["fault"]) == ([5], [4], [""])
    rows = {row["study"]: row for row in read_results(tmp_path / "out").to_pylist()}
    assert rows["heart001"]["error"] is None
    assert rows["heart000"]["error"] == "unexpected RuntimeError: no such heart"
    assert rows["heart000"]["error_type"] == "RuntimeError"
    assert "nothing at" in rows["gone"]["error"]
    assert "expected one study" in rows["two"]["error"]
    assert rows["half"]["error_type"] == "DataError"
    assert rows["gone"]["plausible"] is None
    assert rows["gone"]["lv_edv_ml"] is None
    assert rows["gone"]["masks"] is None


def test_study_that_was_begun_too_often_is_skipped(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 1)
    studies, _ = list_studies(tmp_path / "in")
    write_text(tmp_path / "out" / BEGUN_NAME / "heart000", str(MAX_ATTEMPTS))
    worker(tmp_path / "out")(batch(Task("p", tuple(studies))))
    (row,) = read_results(tmp_path / "out").to_pylist()
    assert (row["error_type"], row["attempts"]) == ("WorkerDied", MAX_ATTEMPTS)


def test_model_that_cannot_be_loaded_is_an_answer_and_writes_nothing(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 1)
    task = Task("p", tuple(list_studies(tmp_path / "in")[0]))
    answer = worker(tmp_path / "out", StandInModel(missing=True))(batch(task))
    assert answer["fault"] == ["expected weights, found none"]
    assert read_results(tmp_path / "out").num_rows == 0


def test_disk_that_takes_nothing_is_a_fault_and_no_studys_failure(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 1)
    task = Task("p", tuple(list_studies(tmp_path / "in")[0]))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "parts").write_text("a file where the folder goes", encoding="utf-8")
    assert "cannot write" in worker(tmp_path / "out")(batch(task))["fault"][0]


def test_one_frame_has_volumes_and_no_ejection_fraction(tmp_path: Path) -> None:
    path = save(tmp_path / "in" / "one.nii.gz", heart(8))
    worker(tmp_path / "out")(batch(Task("p", (CohortStudy("one", "one", (str(path),)),))))
    (row,) = read_results(tmp_path / "out").to_pylist()
    assert row["lv_ml_unknown_phase"] == pytest.approx(lv_ml(8), abs=0.01)
    assert row["lv_ef_percent"] is None
    assert "unknown phase" in row["reason"]


def test_a_finished_study_is_found_by_its_name_with_images_and_label_maps(tmp_path: Path) -> None:
    write_hearts(tmp_path / "in", 2)
    studies, _ = list_studies(tmp_path / "in")
    gone = CohortStudy("gone", "gone", (str(tmp_path / "nowhere.nii.gz"),))
    worker(tmp_path / "out")(batch(Task("a", (*studies, gone))))
    study, masks, networks = finished_study(tmp_path / "out", studies[1].name)
    assert (study.name, networks) == (studies[1].name, MODEL.record()["networks"].split())
    volume = study.images[0].load()
    (mask,) = masks
    assert nib.load(mask).shape == volume.array.shape
    with pytest.raises(DataError, match="found that gone failed"):
        finished_study(tmp_path / "out", "gone")
    with pytest.raises(DataError, match="found none of the name 'anna'"):
        finished_study(tmp_path / "out", "anna")
