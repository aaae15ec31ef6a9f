"""A running server, driven by the client of MONAI Label's module for 3D Slicer."""

import gzip
import statistics
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import nibabel as nib
import numpy as np
import psutil
import pytest
import SimpleITK as sitk

from pipelines.benchmarks.speed import running_server
from pipelines.core.volume import read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.server.label_file import read_sent_label
from pipelines.server.users import Role, add_user

from .conftest import PASSWORD, VERSION, Running, until

pytestmark = pytest.mark.slow

SEGMENTS = {"label_info": [{"name": name, "idx": idx} for idx, name in enumerate(("rv", "myo", "lv"), 2)]}


@pytest.fixture
def client(running: Running, client_class: Any, tmp_path: Path) -> Any:
    made = client_class(running.url, str(tmp_path), "anna")
    until(lambda: made.info()["datastore"]["total"] == 4)
    return made


def test_info_is_what_the_module_shows(client: Any) -> None:
    info = client.info()
    assert "config" not in info
    assert info["labels"] == ["rv", "myo", "lv", "background"]
    assert {name: (model["type"], model["dimension"]) for name, model in info["models"].items()} == {
        **dict.fromkeys(("unet", "attention_unet", "vnet"), ("segmentation", 3)),
        "correct_volume": ("deepedit", 3),
        "correct_slice": ("deepgrow", 2),
        "scribbles": ("scribbles", 3),
    }
    assert next(iter(info["models"])) == "unet"  # which Slicer runs on the next sample
    for model in info["models"].values():
        assert model["labels"].items() >= {"rv": 1, "myo": 2, "lv": 3}.items()
        assert [] not in model["config"].values()
    assert set(info["strategies"]) == {"first", "random", "uncertainty"}


def test_a_case_goes_from_the_next_sample_to_an_ejection_fraction(
    client: Any, running: Running, tmp_path: Path
) -> None:
    fractions = []
    for expected in ("patient001_4d_ED", "patient001_4d_ES"):
        sample = client.next_sample("first", {})
        assert sample["id"] == expected
        image = nib.load(sample["path"])
        mask, told = client.infer(
            "unet", sample["id"], {"result_extension": ".nrrd", "result_dtype": "uint8"}
        )
        found = sitk.ReadImage(mask)
        assert found.GetPixelID() == sitk.sitkUInt8
        assert found.GetSize() == image.shape
        assert told["volumes_ml"]["lv"] > 10
        fractions.append(told["indices"]["lv_ef_percent"])
        # Slicer sends NIfTI of its own making.
        sent = tmp_path / "sent.nii.gz"
        sitk.WriteImage(found, str(sent))
        saved = client.save_label(sample["id"], str(sent), params=dict(SEGMENTS))
        assert saved["history"]["author"] == "anna"
        assert saved["history"]["model"] == f"unet {VERSION}"
        assert saved["history"]["changed_voxels"] == 0
        kept = nib.load(running.studies / "labels" / "final" / f"{sample['id']}_seg.nii.gz")
        np.testing.assert_array_equal(np.asarray(kept.dataobj), sitk.GetArrayFromImage(found).T)
        downloaded = nib.load(client.download_label(sample["id"], "final"))
        np.testing.assert_array_equal(np.asarray(downloaded.dataobj), np.asarray(kept.dataobj))
    assert fractions[0] is None
    assert 0 < fractions[1] < 100
    assert client.info()["datastore"]["completed"] == 2
    assert client.datastore()["objects"]["patient001_4d_ED"]["labels"].keys() == {"final", "original"}


def test_what_slicer_saves_after_a_colleague_is_the_next_version_and_names_whom_it_replaced(
    client: Any, client_class: Any, running: Running, tmp_path: Path
) -> None:
    image = "patient002_4d_ES"
    mine, _ = client.infer("unet", image, {"result_extension": ".nii.gz"})
    found = nib.load(mine)
    theirs = tmp_path / "theirs.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros(found.shape, np.uint8), found.affine), theirs)
    colleague = client_class(running.url, str(tmp_path), "ben")
    segments = {"label_info": [{"name": name, "idx": idx} for idx, name in enumerate(("rv", "myo", "lv"), 1)]}
    empty = colleague.save_label(image, str(theirs), params=dict(segments))["history"]
    assert (empty["model"], empty["doubts"]) == (None, ["the label map is empty"])
    click = {"lv": [[length // 2 for length in found.shape]], "result_extension": ".nii.gz"}
    mine, told = client.infer("correct_volume", image, click)
    assert any("version 1 of the label was saved after" in warning for warning in told["warnings"])
    saved = client.save_label(image, mine, params=dict(segments))["history"]
    assert (saved["number"], saved["base"], saved["author"]) == (2, None, "anna")
    assert (saved["before"]["number"], saved["before"]["author"]) == (1, "ben")
    assert saved["model"].startswith("correct_volume")


def test_the_mean_of_the_networks_is_answered_with_the_default(client: Any, refusal_class: Any) -> None:
    with pytest.raises(refusal_class) as refusal:
        client.infer("ensemble", "patient002_4d_ED", {})
    assert "found ensemble; unet is the default" in str(refusal.value.msg)


@pytest.mark.parametrize("model", ["attention_unet", "vnet"])
def test_every_model_segments(client: Any, model: str) -> None:
    _, told = client.infer(model, "patient002_4d_ED", {})
    assert told["model"] == model
    assert told["volumes_ml"]["lv"] > 10


def test_an_uploaded_session_is_segmented_on_its_own_grid(
    client: Any, refusal_class: Any, running: Running, tmp_path: Path
) -> None:
    source = running.studies / ".thorax" / "images" / "patient002_4d_ES.nii.gz"
    image = nib.load(source)
    turned = tmp_path / "turned.nii.gz"
    nib.save(image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]])), turned)
    session = client.create_session(str(turned))["session_id"]
    assert client.get_session(session)["name"] == session
    mask, told = client.infer("unet", "anything", {}, session_id=session)
    found = read_sent_label(Path(mask), read_volume(turned))
    assert told["volumes_ml"]["lv"] == pytest.approx(
        (found == 3).sum() * np.prod(image.header.get_zooms()) / 1000, abs=0.02
    )
    client.remove_session(session)
    with pytest.raises(refusal_class) as refusal:
        client.get_session(session)
    assert refusal.value.status_code == 404


def test_what_is_no_label_of_the_image_is_refused_with_the_reason(
    client: Any, refusal_class: Any, tmp_path: Path
) -> None:
    path = tmp_path / "other.nii.gz"
    nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.eye(4)), path)
    with pytest.raises(refusal_class) as refusal:
        client.save_label("patient002_4d_ED", str(path), params=dict(SEGMENTS))
    assert "Status: 400" in refusal.value.msg
    assert "expected the label on the image's grid" in refusal.value.msg


def test_uncertainty_is_found_while_nobody_waits(client: Any) -> None:
    def is_known() -> bool:
        return client.next_sample("uncertainty", {}).get("uncertainty") is not None

    until(is_known)
    assert 0 <= client.next_sample("uncertainty", {})["uncertainty"] <= 1


def test_no_training_runs(client: Any) -> None:
    assert client.train_status(check_if_running=True) is False


def test_the_server_answers_while_it_segments_and_refuses_more_than_may_wait(running: Running) -> None:
    def infer(number: int) -> int | tuple[int, str]:
        body = b"params=%7B%7D"
        url = f"{running.url}/infer/unet?image=patient002_4d_ED&output=json"
        try:
            with urlopen(Request(url, body), timeout=300) as answer:
                return int(answer.status)
        except HTTPError as error:
            return error.code, error.headers["Retry-After"]

    waits: list[float] = []
    with ThreadPoolExecutor(12) as threads:
        jobs = [threads.submit(infer, number) for number in range(12)]
        until(lambda: any(job.done() for job in jobs))
        for _ in range(20):
            start = time.perf_counter()
            urlopen(f"{running.url}/info/", timeout=10).read()
            waits.append(time.perf_counter() - start)
        assert not all(job.done() for job in jobs)
        answers = [job.result() for job in jobs]
    assert answers.count(200) == 9  # one runs and eight wait
    refused = [answer for answer in answers if answer != 200]
    assert [code for code, _ in refused] == [429] * 3
    assert all(int(seconds) >= 1 for _, seconds in refused)
    assert statistics.median(waits) < 0.1


def test_memory_stays_bounded_over_many_requests(client: Any, running: Running) -> None:
    process = next(
        child
        for child in psutil.Process().children(recursive=True)
        if str(running.studies) in " ".join(child.cmdline())
    )

    def ask(times: int) -> float:
        for number in range(times):
            mask, _ = client.infer("unet", f"patient00{1 + number % 2}_4d_ED", {})
            Path(mask).unlink()
            session = client.create_session(
                str(running.studies / ".thorax" / "images" / "patient001_4d_ED.nii.gz")
            )
            client.remove_session(session["session_id"])
        return float(process.memory_info().rss)

    settled = ask(6)
    assert ask(20) < settled + 40e6
    work = running.studies / ".thorax"
    for folder in ("uploads", "sessions", "tmp"):
        assert list((work / folder).iterdir()) == []


def test_login_as_the_module_does_it(client_class: Any, refusal_class: Any, tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "studies", patients=1, frames=3, cine=False)
    users = tmp_path / "users.json"
    add_user(users, "anna", PASSWORD, Role.USER)
    with running_server(tmp_path / "studies", "--users", str(users)) as url:
        client = client_class(url, str(tmp_path), "anna")
        assert client.auth_enabled()
        assert not client.auth_valid_token()
        with pytest.raises(refusal_class) as refusal:
            client.info()
        assert refusal.value.status_code == 401
        token = client.auth_token("anna", PASSWORD)
        client.update_auth(token)
        assert client.auth_valid_token()
        sample = client.next_sample("first", {})
        assert "path" not in sample
        with urlopen(f"{url}/datastore/image?image={sample['id']}") as answer:
            assert nib.Nifti1Image.from_bytes(gzip.decompress(answer.read())).ndim == 3
        mask, _ = client.infer("unet", sample["id"], {"result_extension": ".nii.gz"})
        with pytest.raises(refusal_class) as refusal:
            client.save_label(sample["id"], mask, params=dict(SEGMENTS))
        assert "Status: 403" in refusal.value.msg
        headers = {"Authorization": f"Bearer {token['access_token']}"}
        urlopen(Request(f"{url}/auth/logout", b"", headers)).close()
        assert not client.auth_valid_token()
