"""Requests for corrections and what they leave on the server."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipelines.core.volume import read_volume
from pipelines.server.label_file import read_sent_label
from pipelines.server.users import Role

from .conftest import heart, true_mask, write_nifti


def test_a_corrected_contour_counts_for_the_ejection_fraction_and_in_the_history(
    client: TestClient, app: Any
) -> None:
    ed, es = "patient001_frame01", "patient001_frame03"
    params = {"params": '{"lv": [[14, 10, 2]], "client_id": "anna"}'}
    told = client.post(f"/infer/correct_volume?image={ed}&output=json", data=params).json()
    assert (told["model"], told["version"]) == ("correct_volume", app.predictors.version)
    assert told["label_names"] == {"rv": 1, "myo": 2, "lv": 3}
    assert set(told["latencies"]) == {"read", "start", "open", "correct", "measure", "write", "total"}
    second = client.post(f"/infer/unet?image={es}&output=json", data=params).json()
    assert second["indices"]["lv_edv_ml"] == told["volumes_ml"]["lv"]
    mask = client.post(f"/infer/correct_volume?image={ed}&output=image", data={"params": "{}"}).content
    saved = client.put(f"/datastore/label?image={ed}", files={"label": ("a.nrrd", mask)}, data=params).json()
    assert saved["history"]["model"] == f"correct_volume {app.predictors.version}"


def test_the_present_mask_may_come_as_a_file_beside_the_clicks(client: TestClient, tmp_path: Path) -> None:
    url, params = "/infer/correct_volume?image=lone&output=image", {"params": '{"lv": [[20, 15, 3]]}'}
    empty = write_nifti(tmp_path / "empty.nii.gz", np.zeros((24, 20, 5), np.uint8))
    answer = client.post(url, data=params, files={"label": ("now.nii.gz", empty.read_bytes())})
    (tmp_path / "answer.nrrd").write_bytes(answer.content)
    found = read_sent_label(tmp_path / "answer.nrrd", read_volume(empty.with_name("studies") / "lone.nii.gz"))
    assert found[20, 15, 3] == 3
    assert set(found.flat) == {0, 3}
    for name, content in (("a.txt", b"x"), ("a.nii.gz", b"x")):
        assert client.post(url, data=params, files={"label": (name, content)}).status_code == 400


def test_a_session_is_corrected_too_and_is_its_callers_own(
    secure: Callable[..., TestClient], tmp_path: Path
) -> None:
    user, other = secure(Role.USER), secure(Role.ANNOTATOR)
    sent = write_nifti(tmp_path / "mine.nii.gz", heart())
    session = user.put("/session/", files={"files": ("a.nii.gz", sent.read_bytes())}).json()["session_id"]
    url = f"/infer/correct_volume?session_id={session}&output=json"
    params = {"params": '{"lv": [[14, 10, 2]]}'}
    assert user.post(url, data=params).json()["volumes_ml"]["lv"] > 0
    assert other.post(url, data=params).status_code == 404


def test_without_weights_only_scribbles_are_offered(app: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"correct_volume", "correct_slice", "scribbles"} <= set(app.info()["models"])
    monkeypatch.setattr(app.predictors, "bundle", Path("nowhere"))
    assert list(app.info()["models"]) == ["scribbles"]


RV_OF_BEN = (slice(0, 3), slice(0, 3), 4)
"""Where a colleague adds RV, far from `LV_OF_ANNA`."""

LV_OF_ANNA = [14, 10, 1]


@pytest.fixture
def two(secure: Callable[..., TestClient], tmp_path: Path) -> tuple[TestClient, TestClient, bytes]:
    """Anna, who has contours of her own in hand, Ben, and what Ben saves meanwhile."""
    anna, ben = secure(Role.ANNOTATOR), secure(Role.REVIEWER)
    anna.post("/infer/unet?image=lone&output=json", data={"params": "{}"})
    click(anna, lv=[[14, 10, 3]])
    corrected = true_mask(heart())
    corrected[RV_OF_BEN] = 1
    return anna, ben, write_nifti(tmp_path / "ben.nii.gz", corrected).read_bytes()


def click(client: TestClient, mask: bytes | None = None, **params: Any) -> Any:
    data = {"params": json.dumps({"result_extension": ".nii.gz"} | params)}
    files = {"label": ("now.nii.gz", mask)} if mask else None
    return client.post("/infer/correct_volume?image=lone&output=image", data=data, files=files)


def save(client: TestClient, mask: bytes, **params: Any) -> Any:
    data, files = {"params": json.dumps(params)}, {"label": ("label.nii.gz", mask)}
    return client.put("/datastore/label?image=lone", files=files, data=data)


def voxels(content: bytes, folder: Path) -> np.ndarray:
    (folder / "answer.nii.gz").write_bytes(content)
    return np.asarray(nib.load(folder / "answer.nii.gz").dataobj)


def test_a_click_on_the_label_of_a_colleague_goes_on_from_that_label(
    two: tuple[TestClient, TestClient, bytes], tmp_path: Path
) -> None:
    anna, ben, corrected = two
    assert save(ben, corrected, base_version=0).status_code == 200
    answer = click(anna, lv=[LV_OF_ANNA], base_version=1)
    assert answer.status_code == 200
    found = voxels(answer.content, tmp_path)
    assert (found[RV_OF_BEN] == 1).all()
    assert found[tuple(LV_OF_ANNA)] == 3


@pytest.mark.parametrize("model", ["correct_volume", "correct_slice", "scribbles"])
def test_a_click_or_stroke_that_begins_with_an_older_version_is_refused_with_the_newer(
    two: tuple[TestClient, TestClient, bytes], model: str
) -> None:
    anna, ben, corrected = two
    save(ben, corrected, base_version=0)
    params = {"label": "lv", "selected_label_name": "lv", "base_version": 0}
    refused = anna.post(f"/infer/{model}?image=lone", data={"params": json.dumps(params)})
    assert refused.status_code == 409
    told = refused.json()
    assert (told["label_version"], told["author"]) == (1, "reviewer")
    assert "expected version 0 to be the newest" in told["detail"]


def test_a_save_that_begins_with_an_older_version_leaves_the_newer_one(
    two: tuple[TestClient, TestClient, bytes], tmp_path: Path
) -> None:
    anna, ben, corrected = two
    mine = click(anna).content
    save(ben, corrected, base_version=0)
    refused = save(anna, mine, base_version=0)
    assert (refused.status_code, refused.json()["label_version"]) == (409, 1)
    kept = anna.get("/datastore/label?label=lone&tag=final").content
    assert (voxels(kept, tmp_path)[RV_OF_BEN] == 1).all()
    chosen = save(anna, mine, base_version=1).json()["history"]
    assert (chosen["number"], chosen["base"], chosen["before"]["author"]) == (2, 1, "reviewer")


def test_slicer_knows_no_versions_and_its_save_tells_whom_it_replaced(
    two: tuple[TestClient, TestClient, bytes],
) -> None:
    anna, ben, corrected = two
    save(ben, corrected, base_version=0)
    data = {"params": '{"lv": [[14, 10, 3]]}'}
    told = anna.post("/infer/correct_volume?image=lone&output=json", data=data).json()
    assert any("version 1 of the label was saved after" in warning for warning in told["warnings"])
    record = save(anna, click(anna, lv=[[14, 10, 3]]).content).json()["history"]
    assert (record["number"], record["base"]) == (2, None)
    assert (record["before"]["number"], record["before"]["author"]) == (1, "reviewer")


def test_the_client_may_say_which_contours_it_goes_on_from_and_what_is_in_them(
    two: tuple[TestClient, TestClient, bytes], tmp_path: Path
) -> None:
    anna, _, corrected = two
    painted = voxels(corrected, tmp_path)
    painted[20, 15, 3] = 2
    mine = write_nifti(tmp_path / "mine.nii.gz", painted).read_bytes()
    both = {"lv": [[20, 15, 3], LV_OF_ANNA], "settled": {"lv": [[20, 15, 3]]}}
    found = voxels(click(anna, mine, **both, base_version=0).content, tmp_path)
    assert (found[RV_OF_BEN] == 1).all()
    # A click whose effect is in the mask is not acted on again, whatever became of it.
    assert (found[20, 15, 3], found[tuple(LV_OF_ANNA)]) == (2, 3)


def test_a_slice_may_be_answered_with_the_whole_contour(client: TestClient, tmp_path: Path) -> None:
    params = {"label": "lv", "foreground": [LV_OF_ANNA], "whole": True, "result_extension": ".nii.gz"}
    answer = client.post("/infer/correct_slice?image=lone&output=image", data={"params": json.dumps(params)})
    found = voxels(answer.content, tmp_path)
    assert found[tuple(LV_OF_ANNA)] == 3
    np.testing.assert_array_equal(found[:, :, 2:], true_mask(heart())[:, :, 2:])


@pytest.mark.parametrize("base", [-1, "1", True, 1.0, [1]])
def test_a_version_that_is_no_number_is_refused(client: TestClient, base: Any) -> None:
    assert click(client, base_version=base).status_code == 400
    assert save(client, b"", base_version=base).status_code == 400


def test_the_history_names_the_model_that_its_author_ran(secure: Callable[..., TestClient], app: Any) -> None:
    anna, ben = secure(Role.ANNOTATOR), secure(Role.REVIEWER)
    data = {"params": '{"result_extension": ".nii.gz"}'}
    first = anna.post("/infer/unet?image=lone&output=json", data=data).json()
    mine = anna.post("/infer/unet?image=lone&output=image", data=data).content
    ben.post("/infer/vnet?image=lone&output=json", data=data)
    assert save(anna, mine).json()["history"]["model"] == f"unet {app.predictors.version}"
    anna.post("/infer/vnet?image=lone&output=json", data=data)
    named = save(anna, mine, base_version=1, contour=first["contour"]).json()["history"]
    assert named["model"] == f"unet {app.predictors.version}"
    assert save(ben, mine, base_version=2, contour=first["contour"]).json()["history"]["model"] is None
    drawn = save(ben, mine, base_version=3).json()["history"]
    assert (drawn["author"], drawn["model"]) == ("reviewer", None)


def test_a_label_that_cannot_be_a_heart_asks_for_confirmation_and_is_marked(
    client: TestClient, tmp_path: Path
) -> None:
    empty = write_nifti(tmp_path / "empty.nii.gz", np.zeros((24, 20, 5), np.uint8)).read_bytes()
    refused = save(client, empty, confirmed=False)
    assert (refused.status_code, refused.json()["doubts"]) == (422, ["the label map is empty"])
    assert client.get("/datastore/label/history?label=lone").json() == []
    marked = save(client, empty).json()["history"]
    assert (marked["doubts"], marked["confirmed"]) == (["the label map is empty"], False)
    assert save(client, empty, confirmed=True).json()["history"]["confirmed"] is True
    assert save(client, empty, confirmed="yes").status_code == 400
