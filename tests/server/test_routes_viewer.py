"""What the page asks for beside MONAI Label's requests: cines, curves, probabilities, radiographs."""

import base64
import csv
import gzip
import hashlib
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import message_from_bytes
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pydicom
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from pipelines.core.volume import Volume, read_volume
from pipelines.datasets.phantom.xray import phantom_xray
from pipelines.models.bundle import XRAY_NETWORKS
from pipelines.reporting.study_page import StudyPages
from pipelines.server.admission import check_picture
from pipelines.server.api import make_server
from pipelines.server.history import Automatic
from pipelines.server.measurements import note_warnings
from pipelines.server.users import Role
from pipelines.server.worker import PARSER, Worker
from pipelines.server.xrays import FilmReadings, XrayReader, _explained

from ..dicom_files import write_dicom_image
from .conftest import heart, true_mask, write_nifti

RADII = (4.0, 3.5, 3.0, 3.6)

CINE_MM = (3.0, 3.0, 8.0)
"""Voxels of cines: what is less wide than a heart is not given to the network frame by frame."""


def write_cine(path: Path) -> Path:
    """Four frames of a heart; ED is the first and ES the third."""
    write_nifti(path, np.stack([heart(radius) for radius in RADII], axis=3), np.diag([*CINE_MM, 1.0]))
    image = nib.load(path)
    image.header.set_zooms((*CINE_MM, 0.04))
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, path)
    return path


def png(pixels: np.ndarray, kind: str = "PNG") -> bytes:
    stream = BytesIO()
    Image.fromarray(pixels).save(stream, kind)
    return stream.getvalue()


def chest() -> np.ndarray:
    return np.round(255 * phantom_xray(np.random.default_rng(0))).astype(np.uint8)


@pytest.fixture
def with_cine(studies: Path, app: Any, client: TestClient) -> TestClient:
    """A server whose folder has a cine too, as its frames at ED and ES."""
    write_cine(studies / "beat.nii.gz")
    app.datastore().refresh()
    return client


def lv_ml(radius: float, spacing_mm: tuple[float, float, float] = (2.0, 2.0, 8.0)) -> float:
    return float((true_mask(heart(radius)) == 3).sum() * np.prod(spacing_mm) / 1000)


def read(content: bytes) -> Any:
    return nib.Nifti1Image.from_bytes(gzip.decompress(content))


def test_a_frame_of_a_cine_leads_to_the_whole_cine(with_cine: TestClient) -> None:
    objects = with_cine.get("/datastore/", params={"output": "all"}).json()["objects"]
    has_cine = {name: found["image"]["info"]["has_cine"] for name, found in objects.items()}
    assert has_cine == {
        "patient001_frame01": False,
        "patient001_frame03": False,
        "lone": False,
        "beat_ED": True,
        "beat_ES": True,
    }
    for image in ("beat_ED", "beat_ES"):
        cine = read(with_cine.get("/viewer/data/cine", params={"image": image}).content)
        expected = np.stack([heart(radius) for radius in RADII], axis=3)
        np.testing.assert_array_equal(np.asarray(cine.dataobj), expected)
        assert cine.header.get_zooms() == pytest.approx((*CINE_MM, 0.04))
        np.testing.assert_array_equal(cine.affine, np.diag([*CINE_MM, 1]))


def test_the_cine_is_still_known_after_a_restart(with_cine: TestClient, app: Any) -> None:
    app.datastore().images.scan(unfold=False)
    assert with_cine.get("/viewer/data/cine", params={"image": "beat_ES"}).status_code == 200


@pytest.mark.parametrize("image", ["lone", "patient001_frame01", "nothing", "../beat", ""])
def test_an_image_without_a_cine_has_none(with_cine: TestClient, image: str) -> None:
    for answer in (
        with_cine.get("/viewer/data/cine", params={"image": image}),
        with_cine.post("/viewer/data/curve", params={"image": image}),
    ):
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith("expected")


def check_curve(told: dict[str, Any]) -> None:
    expected = [round(lv_ml(radius, CINE_MM), 2) for radius in RADII]
    assert told["volumes_ml"]["lv"] == expected
    assert len(set(told["volumes_ml"]["rv"])) == 1
    assert (told["frame_ed"], told["frame_es"]) == (1, 3)
    assert told["frame_s"] == pytest.approx(0.04)
    ef = 100 * (1 - lv_ml(3.0) / lv_ml(4.0))
    assert told["indices"]["lv_ef_percent"] == pytest.approx(ef, abs=0.01)


def test_the_curve_of_a_cine_has_the_volume_of_each_frame(with_cine: TestClient) -> None:
    answer = with_cine.post("/viewer/data/curve", params={"image": "beat_ES"})
    assert answer.status_code == 200
    check_curve(answer.json())


def test_the_curve_comes_with_the_contours_of_each_frame(with_cine: TestClient) -> None:
    answer = with_cine.post("/viewer/data/curve", params={"image": "beat_ES", "output": "all"})
    told, contours = parts(answer)
    check_curve(told)
    expected = np.stack([true_mask(heart(radius)) for radius in RADII], axis=3)
    np.testing.assert_array_equal(np.asarray(read(contours).dataobj), expected)
    np.testing.assert_array_equal(read(contours).affine, np.diag([*CINE_MM, 1]))


def test_the_curve_of_a_cine_that_is_sent_is_the_same_and_nothing_stays(
    client: TestClient, app: Any, tmp_path: Path
) -> None:
    path = write_cine(tmp_path / "sent.nii.gz")
    answer = client.post("/viewer/data/curve", files={"file": ("my cine.nii.gz", path.read_bytes())})
    assert answer.status_code == 200
    check_curve(answer.json())
    assert list((Path(app.datastore().root) / ".thorax" / "uploads").iterdir()) == []


@pytest.mark.parametrize("frames", [1, 201])
def test_a_cine_of_too_few_or_too_many_frames_is_refused(
    client: TestClient, tmp_path: Path, frames: int
) -> None:
    path = write_nifti(tmp_path / "odd.nii", np.random.default_rng(0).random((4, 4, 2, frames)))
    answer = client.post("/viewer/data/curve", files={"file": ("odd.nii", path.read_bytes())})
    assert answer.status_code == 400
    assert f"expected a cine of 2 to 200 frames, found {frames}" in answer.json()["detail"]


def test_a_cine_without_a_heart_says_so(client: TestClient, tmp_path: Path) -> None:
    path = write_nifti(tmp_path / "empty.nii", np.random.default_rng(0).random((8, 8, 2, 3)))
    answer = client.post("/viewer/data/curve", files={"file": ("empty.nii", path.read_bytes())})
    assert answer.status_code == 400
    assert "expected the LV in at least 2 frames" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.nii.gz", b"no image"), ("a.txt", b"text"), ("../../a.nii", b"\x5c\x01"), ("a.nii.gz", b"")],
)
def test_what_is_no_cine_is_refused_without_a_path_of_the_server(
    client: TestClient, app: Any, name: str, content: bytes
) -> None:
    answer = client.post("/viewer/data/curve", files={"file": (name, content)})
    assert answer.status_code == 400
    assert str(app.datastore().root) not in answer.text
    assert "uploads" not in answer.text


@pytest.fixture
def with_probabilities(app: Any, client: TestClient, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A network that is 80% sure of what is there."""

    def probabilities(name: str, volume: Volume) -> np.ndarray:
        mask = true_mask(volume.array)
        return np.stack([np.where(mask == label, 0.8, 0.05) for label in range(4)]).astype(np.float32)

    monkeypatch.setattr(app.predictors, "probabilities", probabilities)
    return client


def test_a_probability_map_is_on_the_grid_of_its_image(with_probabilities: TestClient, studies: Path) -> None:
    turned = nib.load(studies / "lone.nii.gz").as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    sent = {"files": ("turned.nii.gz", gzip.compress(turned.to_bytes()))}
    session = with_probabilities.put("/session/", files=sent).json()["session_id"]
    for source, image in (
        ({"image": "lone"}, nib.load(studies / "lone.nii.gz")),
        ({"session_id": session}, turned),
    ):
        for structure, label in (("rv", 1), ("myo", 2), ("lv", 3)):
            query = source | {"model": "unet", "structure": structure}
            found = read(with_probabilities.get("/viewer/data/probability", params=query).content)
            np.testing.assert_array_equal(found.affine, image.affine)
            is_there = true_mask(np.asarray(image.dataobj)) == label
            np.testing.assert_array_equal(np.asarray(found.dataobj), np.where(is_there, 204, 13))


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ({"image": "lone", "model": "unet", "structure": "background"}, 422),
        ({"image": "lone", "model": "unet", "structure": "lv\n"}, 422),
        ({"image": "lone", "model": "../unet", "structure": "lv"}, 404),
        ({"image": "lone", "model": "correct_volume", "structure": "lv"}, 404),
        ({"image": "../lone", "model": "unet", "structure": "lv"}, 400),
        ({"session_id": "none", "model": "unet", "structure": "lv"}, 404),
        ({"model": "unet"}, 422),
    ],
)
def test_odd_requests_for_a_probability_are_refused(
    with_probabilities: TestClient, query: dict[str, str], status: int
) -> None:
    assert with_probabilities.get("/viewer/data/probability", params=query).status_code == status


def test_a_session_of_another_user_has_no_probability(
    secure: Callable[..., TestClient], studies: Path
) -> None:
    sent = {"files": ("a.nii.gz", (studies / "lone.nii.gz").read_bytes())}
    session = secure(Role.USER).put("/session/", files=sent).json()["session_id"]
    query = {"session_id": session, "model": "unet", "structure": "lv"}
    assert secure(Role.ADMIN).get("/viewer/data/probability", params=query).status_code == 404


@pytest.mark.slow
def test_a_radiograph_gets_its_class_and_its_heat_map(client: TestClient, app: Any) -> None:
    large = np.asarray(Image.fromarray(chest()).resize((1324, 1324)))
    answer = client.post("/viewer/data/xray", files={"file": ("a.jpg", png(large, "JPEG"))})
    assert answer.status_code == 200
    told = answer.json()
    assert 0 <= told["probability"] <= 1
    assert told["decision"] == ("PNEUMONIA" if told["probability"] >= told["threshold"] else "NORMAL")
    assert told["warnings"] == []
    picture, heat = (Image.open(BytesIO(base64.b64decode(told[key]))) for key in ("picture", "heat_map"))
    assert picture.size == heat.size == (1024, 1024)
    colours = np.asarray(heat)
    assert colours.shape[2] == 4
    assert colours[..., 3].max() > 200
    assert list((Path(app.datastore().root) / ".thorax" / "uploads").iterdir()) == []


def test_a_reading_of_a_film_is_saved_with_author_model_and_time_and_none_is_replaced(
    secure: Callable[..., TestClient], app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"decision": "PNEUMONIA", "probability": 0.9, "threshold": 0.5, "warnings": []}
    monkeypatch.setattr(XrayReader, "is_ready", property(lambda self: True))
    heat = np.zeros((256, 256), np.float32)
    call = Worker.call
    monkeypatch.setattr(
        Worker,
        "call",
        lambda self, function, *sent: (
            (found, heat) if function is _explained else call(self, function, *sent)
        ),
    )
    annotator, content = secure(Role.ANNOTATOR), png(chest())
    told = annotator.post("/viewer/data/xray", files={"file": ("a.png", content)}).json()
    film = hashlib.sha256(content).hexdigest()
    assert told["film"] == film
    url = f"/viewer/data/reading?image={film}"
    assert annotator.get(url).json() == []
    said = {"word": "unsure", "note": "rib\nabove", "method": "grad_cam", "name": "a.png"}
    saved = annotator.put(url, data=said).json()
    assert said.items() <= saved.items()
    assert (saved["number"], saved["author"], saved["film"]) == (1, "annotator", film)
    assert saved["result"]["model"] == told["model"]
    assert re.fullmatch(rf"{XRAY_NETWORKS[0]} \d+\.\d+\.\d+", told["model"])
    assert saved["result"]["probability"] == 0.9
    assert "picture" not in saved["result"]
    assert abs(datetime.fromisoformat(saved["time"]) - datetime.now(UTC)) < timedelta(minutes=5)
    # A later reading stands beside the first, and both are there after a restart.
    kept_in = Path(app.datastore().root) / "labels" / "films" / film
    (kept_in / ".part-1-0002.json").touch()  # of a server that was killed
    secure(Role.REVIEWER).put(url, data=said | {"word": "normal"})
    assert [one["word"] for one in annotator.get(url).json()] == ["unsure", "normal"]
    assert secure(Role.USER).get(url).json() == FilmReadings(Path(app.datastore().root)).history(film)
    assert secure(Role.USER).put(url, data=said).status_code == 403
    audit = (Path(app.datastore().root) / ".thorax" / "audit.log").read_text(encoding="utf-8")
    deeds = [json.loads(line) for line in audit.splitlines()]
    kept = [(one["who"], one["outcome"]) for one in deeds if one["what"] == "save reading"]
    assert kept == [("annotator", 200), ("reviewer", 200), ("user", 403)]


@pytest.mark.parametrize(
    ("film", "said", "status"),
    [
        ("0" * 64, {}, 400),  # not opened since the start
        ("../../etc", {}, 422),
        ("0" * 63, {}, 422),
        ("0" * 64, {"word": "healthy"}, 422),
        ("0" * 64, {"note": "a" * 2001}, 422),
        ("0" * 64, {"name": "a" * 201}, 422),
        ("0" * 64, {"method": "lime"}, 422),
    ],
)
def test_a_reading_of_an_unknown_film_or_in_other_words_is_refused(
    client: TestClient, app: Any, film: str, said: dict[str, str], status: int
) -> None:
    form = {"word": "normal", "method": "grad_cam"} | said
    answer = client.put("/viewer/data/reading", params={"image": film}, data=form)
    assert answer.status_code == status
    assert "expected a film that was opened" in answer.text or status == 422
    assert not (Path(app.datastore().root) / "labels" / "films").exists()


@pytest.mark.parametrize(
    ("pixels", "words"),
    [
        (np.random.default_rng(0).integers(0, 256, (256, 256)).astype(np.uint8), "hardly looks like a chest"),
        (np.pad(chest(), ((0, 0), (500, 600))), "not a frontal chest radiograph"),
    ],
    ids=["noise", "wide"],
)
def test_what_is_no_frontal_chest_film_gets_no_class(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, pixels: np.ndarray, words: str
) -> None:
    monkeypatch.setattr(XrayReader, "is_ready", property(lambda self: True))
    told = client.post("/viewer/data/xray", files={"file": ("a.png", png(pixels))}).json()
    assert [told[name] for name in ("decision", "probability", "threshold", "heat_map")] == [None] * 4
    assert any(words in warning for warning in told["warnings"])
    assert Image.open(BytesIO(base64.b64decode(told["picture"]))).mode == "L"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.png", b"no picture"),
        ("a.dcm", bytes(128) + b"DICM" + b"rubbish"),
        ("a.nii.gz", b"\x1f\x8b"),
        ("../../a.png", b""),
        ("a", b"x"),
        ("a.png", png(np.zeros((8, 8), np.uint8))),
        ("a.gif", png(np.zeros((64, 64), np.uint8), "GIF")),
        ("a.jpg", png(chest())[:2000]),
    ],
)
def test_what_is_no_radiograph_is_refused_without_a_path_of_the_server(
    client: TestClient, app: Any, name: str, content: bytes
) -> None:
    answer = client.post("/viewer/data/xray", files={"file": (name, content)})
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith("expected")
    assert str(app.datastore().root) not in answer.text


def test_a_small_file_that_unpacks_to_a_huge_picture_is_refused_before(tmp_path: Path) -> None:
    path = tmp_path / "bomb.png"
    Image.new("1", (10_000, 10_000)).save(path)
    assert path.stat().st_size < 100_000
    with pytest.raises(Exception, match="expected at most 40000000 pixels, found 10000 x 10000"):
        check_picture(path)


def test_without_weights_of_the_bundle_the_server_says_so(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert not XrayReader(PARSER, tmp_path).is_ready
    monkeypatch.setattr(XrayReader, "is_ready", property(lambda self: False))
    answer = client.post("/viewer/data/xray", files={"file": ("a.png", png(chest()))})
    assert answer.status_code == 503
    assert answer.json()["detail"] == "this server has no weights of the chest X-ray bundle"


def test_a_saved_label_is_opened_with_its_numbers_and_without_a_network(
    client: TestClient, app: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = app.datastore()
    for name, radius in (("patient001_frame01", 4.0), ("patient001_frame03", 3.0)):
        image = Volume(heart(radius), np.diag([2.0, 2.0, 8.0, 1.0]), (2.0, 2.0, 8.0))
        store.labels.accept(name, true_mask(image.array), image, author="anna")
    monkeypatch.delattr(app.predictors, "predict")
    monkeypatch.setattr(type(app.predictors), "predict", None)
    note_warnings(store.image("patient001_frame03").path, ["its modality is CT"])
    answer = client.get("/viewer/data/label", params={"image": "patient001_frame03"})
    params, mask = parts(answer)
    assert params["volumes_ml"]["lv"] == pytest.approx(lv_ml(3.0), abs=0.01)
    ef = 100 * (1 - lv_ml(3.0) / lv_ml(4.0))
    assert params["indices"]["lv_ef_percent"] == pytest.approx(ef, abs=0.01)
    assert params["indices"]["myo_mass_ed_g"] > 0
    assert "LV volume" in " ".join(params["warnings"])
    assert params["warnings"][0] == "its modality is CT"
    assert (params["label_version"], params["author"], params["doubts"]) == (1, "anna", [])
    np.testing.assert_array_equal(np.asarray(read(mask).dataobj), true_mask(heart(3.0)))


def accept(
    app: Any,
    name: str,
    radius: float,
    spacing_mm: tuple[float, float, float] = (2.0, 2.0, 8.0),
    **known: Any,
) -> None:
    image = Volume(heart(radius), np.diag([*spacing_mm, 1.0]), spacing_mm)
    app.datastore().labels.accept(name, true_mask(image.array), image, author="anna", **known)


def test_each_saved_version_is_shown_and_the_contour_that_it_began_with(client: TestClient, app: Any) -> None:
    automatic = Automatic(true_mask(heart(5.0)), "unet", "1")
    accept(app, "lone", 4.0, automatic=automatic)
    accept(app, "lone", 3.0)
    for query, radius in (
        ({"version": 1}, 4.0),
        ({"version": 2}, 3.0),
        ({}, 3.0),
        ({"version": 1, "original": True}, 5.0),
    ):
        params, mask = parts(client.get("/viewer/data/label", params={"image": "lone"} | query))
        np.testing.assert_array_equal(np.asarray(read(mask).dataobj), true_mask(heart(radius)))
        assert params["volumes_ml"]["lv"] == pytest.approx(lv_ml(radius), abs=0.01)
    for query in ({"version": 3}, {"version": 2, "original": True}):
        answer = client.get("/viewer/data/label", params={"image": "lone"} | query)
        assert answer.status_code == 400
    assert client.get("/viewer/data/label", params={"image": "lone", "version": 0}).status_code == 422


@pytest.fixture
def beating(studies: Path, app: Any) -> tuple[str, str]:
    """A patient whose images are as wide as a heart, by the ids of ED and ES."""
    for frame, radius in ((1, 4.0), (3, 3.0)):
        path = studies / "wide" / f"wide_frame0{frame}.nii.gz"
        write_nifti(path, heart(radius), np.diag([*CINE_MM, 1.0]))
    (studies / "wide" / "Info.cfg").write_text("ED: 1\nES: 3\nGroup: NOR\n", encoding="utf-8")
    app.datastore().refresh()
    return "wide_frame01", "wide_frame03"


def report_of(client: TestClient, image: str, kind: str) -> Any:
    return client.get("/viewer/data/report", params={"image": image, "format": kind})


def test_the_report_of_a_study_is_a_table_of_both_saved_labels(
    client: TestClient, app: Any, beating: tuple[str, str]
) -> None:
    ed, es = beating
    answer = report_of(client, ed, "csv")
    assert answer.status_code == 400
    assert "expected a saved label" in answer.json()["detail"]
    accept(app, ed, 4.0, CINE_MM)
    accept(app, es, 3.0, CINE_MM)
    answer = report_of(client, es, "csv")
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(StringIO(answer.content.decode("utf-8-sig")))
    assert float(row["lv_ef_percent"]) == pytest.approx(100 * (1 - lv_ml(3.0) / lv_ml(4.0)), abs=0.01)
    assert (row["patient"], row["frame_ed"], row["frame_es"], row["path"]) == ("wide", "1", "3", "")
    assert row["lv_edv_ml_plus_minus"] == ""  # a person drew it
    bundle = json.loads(report_of(client, ed, "fhir").content)
    assert (bundle["resourceType"], bundle["entry"][0]["resource"]["subject"]["display"]) == (
        "Bundle",
        "wide",
    )
    for kind in ("seg", "sr"):
        assert "expected a DICOM series" in report_of(client, ed, kind).json()["detail"]
    assert report_of(client, ed, "exe").status_code == 422


def test_the_report_of_a_study_reads_no_info_out_of_the_studies(
    client: TestClient, app: Any, beating: tuple[str, str], studies: Path, tmp_path: Path
) -> None:
    for phase, radius in zip(beating, (4.0, 3.0), strict=True):
        accept(app, phase, radius, CINE_MM)
    info = studies / "wide" / "Info.cfg"
    for secret in ("Height: 184.5\nWeight: 70\n", "Height: secret\n"):
        info.unlink()
        info.symlink_to(tmp_path / "away.cfg")
        (tmp_path / "away.cfg").write_text(secret, encoding="utf-8")
        answer = report_of(client, beating[0], "csv")
        (row,) = csv.DictReader(StringIO(answer.content.decode("utf-8-sig")))
        assert row["body_surface_m2"] == ""
        assert "secret" not in row["warnings"]
    info.unlink()
    (studies / "kept.cfg").write_text("Height: 184.5\nWeight: 70\n", encoding="utf-8")
    info.symlink_to(studies / "kept.cfg")
    answer = report_of(client, beating[0], "csv")
    (row,) = csv.DictReader(StringIO(answer.content.decode("utf-8-sig")))
    assert float(row["body_surface_m2"]) == pytest.approx((184.5 * 70 / 3600) ** 0.5, abs=0.01)


@pytest.mark.slow
def test_the_report_of_a_study_is_a_page_too(app: Any, beating: tuple[str, str]) -> None:
    ed, es = beating
    accept(app, ed, 4.0, CINE_MM)
    accept(app, es, 3.0, CINE_MM)
    write_page = StudyPages("tested")
    with_page = TestClient(make_server(app, write_page=write_page), base_url="http://127.0.0.1:8000")
    answer = report_of(with_page, ed, "pdf")
    assert answer.headers["content-type"] == "application/pdf"
    assert answer.content.startswith(b"%PDF")


def test_a_dicom_cine_is_put_together_and_reported_as_dicom(
    client: TestClient, app: Any, studies: Path
) -> None:
    folder = studies / "series"
    for frame, radius in enumerate(RADII):
        texture = np.random.default_rng(frame).uniform(0, 4, (24, 20, 5))
        pixels = np.round(heart(radius) + texture).repeat(3, axis=0).repeat(3, axis=1)
        for z in range(pixels.shape[2]):
            number = 1 + z + 5 * frame
            path = folder / f"{number:02}.dcm"
            write_dicom_image(
                path, pixels[..., z], z_mm=8.0 * z, time_ms=40.0 * frame, number=number, series="1.2.3.4"
            )
            image = pydicom.dcmread(path)
            image.FrameOfReferenceUID = "1.2.3.9"
            image.save_as(path)
    files = [("files", (path.name, path.read_bytes())) for path in folder.iterdir()]
    assert read(client.post("/viewer/data/volume", files=files).content).shape == (72, 60, 5, 4)
    app.datastore().refresh()
    ed, es = (image for image in app.datastore().images.all() if image.dicom)
    for one in (ed, es):
        image = read_volume(one.path)
        app.datastore().labels.accept(one.id, true_mask(image.array), image, author="anna")
    answer = report_of(client, es.id, "seg")
    assert answer.headers["content-type"] == "application/dicom"
    segments = pydicom.dcmread(BytesIO(answer.content))
    mask = true_mask(read_volume(es.path).array)
    assert (segments.Modality, segments.pixel_array.sum()) == ("SEG", (mask > 0).sum())
    series = segments.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert {one.ReferencedSOPInstanceUID for one in series} == {f"1.2.3.4.{11 + z}" for z in range(5)}
    report = pydicom.dcmread(BytesIO(report_of(client, ed.id, "sr").content))
    assert report.Modality == "SR"


def measures_of(client: TestClient, mask: np.ndarray, **query: str) -> Any:
    content = gzip.compress(nib.Nifti1Image(mask, np.diag([2.0, 2.0, 8.0, 1.0])).to_bytes())
    return client.post("/viewer/data/measures", params=query, files={"label": ("label.nii.gz", content)})


def test_a_drawn_label_map_is_measured_without_being_saved(client: TestClient, app: Any) -> None:
    answer = measures_of(client, true_mask(heart(3.0)), image="patient001_frame03")
    told = answer.json()
    assert told["volumes_ml"]["lv"] == pytest.approx(lv_ml(3.0), abs=0.01)
    assert (told["phase"], told["indices"]["lv_ef_percent"]) == ("ES", None)
    assert not app.datastore().labels.has("patient001_frame03")
    # One structure alone is no convention of labels that is mixed up.
    alone = np.where(true_mask(heart(3.0)) == 1, np.uint8(1), np.uint8(0))
    told = measures_of(client, alone, image="lone").json()
    assert told["volumes_ml"] == {"rv": told["volumes_ml"]["rv"], "myo": 0.0, "lv": 0.0}
    assert told["volumes_ml"]["rv"] > 0


def test_a_drawn_label_map_of_another_grid_is_not_measured(client: TestClient) -> None:
    assert measures_of(client, np.zeros((24, 20, 4), np.uint8), image="lone").status_code == 400
    assert measures_of(client, np.zeros((24, 20, 5), np.uint8), image="nothing").status_code == 400
    assert measures_of(client, np.zeros((24, 20, 5), np.uint8), session_id="none").status_code == 404


def test_an_image_without_a_label_has_none_to_open(client: TestClient) -> None:
    assert client.get("/viewer/data/label", params={"image": "lone"}).status_code == 204
    assert client.get("/viewer/data/label", params={"image": "nothing"}).status_code == 400


def test_the_indices_follow_from_the_volumes_of_both_phases(client: TestClient) -> None:
    ed, es = {"rv": 120.0, "myo": 100.0, "lv": 100.0}, {"rv": 60, "myo": 90, "lv": 98}
    told = client.post("/viewer/data/indices", data={"params": json.dumps({"ED": ed, "ES": es})}).json()
    found = {name: told["indices"][name] for name in ("lv_ef_percent", "rv_ef_percent", "myo_mass_ed_g")}
    assert found == {"lv_ef_percent": 2.0, "rv_ef_percent": 50.0, "myo_mass_ed_g": 105.0}
    assert told["index_warnings"] == ["LV EF of 2% is outside 5 to 90%, check ED and ES"]


@pytest.mark.parametrize("volume", ["1", -1, True, None, [1], 10**400])
def test_volumes_that_are_none_are_refused(client: TestClient, volume: Any) -> None:
    good = {"rv": 1, "myo": 1, "lv": 1}
    for wrong in ({"ED": good}, {"ED": good, "ES": good | {"lv": volume}}, {"ED": good, "ES": [1]}):
        answer = client.post("/viewer/data/indices", data={"params": json.dumps(wrong)})
        assert answer.status_code == 400
    for text in ('{"ED": {"rv": NaN, "myo": 1, "lv": 1}}', '{"ED": {"rv": Infinity, "myo": 1, "lv": 1}}'):
        assert client.post("/viewer/data/indices", data={"params": text}).status_code == 400


def parts(answer: Any) -> tuple[dict[str, Any], bytes]:
    """Measures and label map of an answer with both."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    first, second = message_from_bytes(head + answer.content).get_payload()
    return json.loads(first.get_payload(decode=True)), second.get_payload(decode=True)
