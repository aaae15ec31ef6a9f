"""Requests for corrections and what they leave on the server."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from pipelines.core.volume import read_volume
from pipelines.server.label_file import read_sent_label
from pipelines.server.users import Role

from .conftest import heart, write_nifti


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
