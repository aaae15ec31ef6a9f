"""Requests that nobody would send by accident: no error of the server, nothing written elsewhere."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from .conftest import heart, write_nifti

EVIL = [
    "../../evil",
    "..\\evil",
    "/tmp/evil",
    "/etc/passwd",
    "a/../../evil",
    "\x00",
    "$__import__('os').system('touch evil')",
    "file:///etc/passwd",
    "lone.nii.gz",
    ".",
    "",
    "%2e%2e%2fevil",
    "CON",
    "\ud800",
    "x" * 5000,
    "patient001_frame01",
    "final",
    "original",
]
names = st.sampled_from(EVIL) | st.text(max_size=30)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | names,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=8,
)
keys = st.sampled_from(
    [
        "image",
        "model",
        "device",
        "model_filename",
        "result_extension",
        "result_dtype",
        "label_info",
        "client_id",
        "base_version",
        "contour",
        "confirmed",
    ]
)
interactive_keys = st.sampled_from(
    [
        "rv",
        "myo",
        "lv",
        "background",
        "foreground",
        "label",
        "slice",
        "roi",
        "label_info",
        "selected_label_name",
        "settled",
        "whole",
        "base_version",
    ]
)
points = st.lists(
    st.lists(st.integers(-2, 25) | st.integers() | st.floats(), min_size=2, max_size=4), max_size=4
)
objects = st.dictionaries(keys | names, values, max_size=5)
texts = objects.map(json.dumps) | names | st.just("[" * 50_000)
contents = st.binary(max_size=60)
files = st.tuples(names | st.sampled_from(["a.nii.gz", "a.nrrd", "a.tar", "a.zip", "../../a.nii"]), contents)
FUZZ = settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture
def watched(client: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TestClient:
    """A server in a folder of its own, beside which nothing may appear."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return client


def utf8(text: str) -> str:
    """What can stand in a URL or a form at all."""
    return text.encode("utf-8", "replace").decode()


def outside(folder: Path) -> set[str]:
    """What lies beside the studies folder."""
    return {
        str(Path(place) / name)
        for place, _, found in os.walk(folder)
        for name in found
        if "studies" not in Path(place).parts
    }


def is_sound(answer: Any, client: TestClient, folder: Path) -> None:
    assert answer.status_code < 500, answer.text
    assert outside(folder) == set()
    assert not Path("/tmp/evil").exists()
    assert "root:" not in answer.text


@FUZZ
@given(name=names, tag=names, output=names)
def test_odd_names_find_nothing(
    watched: TestClient, tmp_path: Path, name: str, tag: str, output: str
) -> None:
    name, tag = utf8(name), utf8(tag)
    for method in ("GET", "HEAD"):
        is_sound(watched.request(method, "/datastore/image", params={"image": name}), watched, tmp_path)
        is_sound(
            watched.request(method, "/datastore/label", params={"label": name, "tag": tag}), watched, tmp_path
        )
    for path in ("/datastore/image/info", "/datastore/label/info", "/datastore/label/history"):
        is_sound(watched.get(path, params={"image": name, "label": name, "tag": tag}), watched, tmp_path)
    is_sound(watched.get("/datastore/", params={"output": utf8(output)}), watched, tmp_path)


@FUZZ
@given(name=names)
def test_odd_paths_lead_nowhere(watched: TestClient, tmp_path: Path, name: str) -> None:
    from urllib.parse import quote

    part = quote(utf8(name), safe="/")
    for method, path in (
        ("GET", "session"),
        ("DELETE", "session"),
        ("POST", "infer"),
        ("POST", "activelearning"),
    ):
        is_sound(watched.request(method, f"/{path}/{part}"), watched, tmp_path)


@FUZZ
@given(name=names, session=names, params=texts)
def test_odd_inferences_are_refused_or_run_on_a_known_image(
    watched: TestClient, tmp_path: Path, name: str, session: str, params: str
) -> None:
    query = {"image": utf8(name), "session_id": utf8(session)}
    answer = watched.post("/infer/unet", params=query, data={"params": utf8(params)})
    is_sound(answer, watched, tmp_path)
    assert answer.status_code in (200, 400, 404, 422)
    assert answer.status_code != 200 or (name == "patient001_frame01" and not session)


@FUZZ
@given(params=objects)
def test_odd_parameters_of_a_known_image_never_change_what_is_read(
    watched: TestClient, tmp_path: Path, params: dict[str, Any]
) -> None:
    query = {"image": "lone", "output": "json"}
    answer = watched.post("/infer/unet", params=query, data={"params": json.dumps(params)})
    is_sound(answer, watched, tmp_path)
    if answer.status_code == 200:
        assert answer.json()["phase"] is None
        assert answer.json()["model"] == "unet"


@FUZZ
@given(
    model=st.sampled_from(["correct_volume", "correct_slice", "scribbles"]),
    params=st.dictionaries(
        interactive_keys, points | values | st.sampled_from(["lv", "rv", 0, 4]), min_size=1, max_size=6
    ),
    file=st.none() | files,
)
def test_odd_clicks_and_masks_are_refused_or_acted_on(
    watched: TestClient, tmp_path: Path, model: str, params: dict[str, Any], file: tuple[str, bytes] | None
) -> None:
    sent = {"label": (utf8(file[0]), file[1])} if file else None
    query = {"image": "lone", "output": "json"}
    answer = watched.post(f"/infer/{model}", params=query, data={"params": json.dumps(params)}, files=sent)
    is_sound(answer, watched, tmp_path)
    assert answer.status_code in (200, 400, 422)
    assert list((tmp_path / "studies" / ".thorax" / "uploads").iterdir()) == []


@pytest.mark.parametrize("depth", [100, 300, 600, 900])
def test_deeply_nested_parameters_are_refused(watched: TestClient, tmp_path: Path, depth: int) -> None:
    nested = "[" * depth + "]" * depth
    for name in ("lv", "label_info", "client_id", "device"):
        params = {"params": f'{{"{name}": {nested}}}'}
        query = {"image": "lone", "output": "json"}
        is_sound(watched.post("/infer/correct_volume", params=query, data=params), watched, tmp_path)
        path = write_nifti(tmp_path / "studies" / ".thorax" / "sent.nii.gz", heart() * 0)
        files = {"label": ("a.nii.gz", path.read_bytes())}
        is_sound(watched.put("/datastore/label", params=query, data=params, files=files), watched, tmp_path)


@FUZZ
@given(name=names, tag=names, params=texts, file=files)
def test_odd_labels_are_refused(
    watched: TestClient, tmp_path: Path, name: str, tag: str, params: str, file: tuple[str, bytes]
) -> None:
    answer = watched.put(
        "/datastore/label",
        params={"image": utf8(name), "tag": utf8(tag)},
        data={"params": utf8(params)},
        files={"label": (utf8(file[0]), file[1])},
    )
    is_sound(answer, watched, tmp_path)
    assert answer.status_code in (400, 404, 422)


@FUZZ
@given(name=names, file=files, uncompress=st.booleans(), body=values)
def test_odd_uploads_are_refused(
    watched: TestClient, tmp_path: Path, name: str, file: tuple[str, bytes], uncompress: bool, body: Any
) -> None:
    sent = (utf8(file[0]), file[1])
    for path in ("/datastore/", "/datastore/image"):
        is_sound(watched.put(path, params={"image": utf8(name)}, files={"file": sent}), watched, tmp_path)
    begun = watched.put("/session/", params={"uncompress": uncompress}, files={"files": sent})
    is_sound(begun, watched, tmp_path)
    assert begun.status_code != 200
    is_sound(watched.post("/activelearning/first", content=json.dumps(body)), watched, tmp_path)
    is_sound(watched.post("/auth/token", data={"username": utf8(name), "password": "x"}), watched, tmp_path)


@FUZZ
@given(segments=values)
def test_odd_segments_of_a_true_label_file_are_refused_or_understood(
    watched: TestClient, tmp_path: Path, segments: Any
) -> None:
    path = write_nifti(tmp_path / "studies" / ".thorax" / "sent.nii.gz", heart() * 0)
    answer = watched.put(
        "/datastore/label",
        params={"image": "lone"},
        data={"params": json.dumps({"label_info": segments, "client_id": segments})},
        files={"label": ("a.nii.gz", path.read_bytes())},
    )
    is_sound(answer, watched, tmp_path)
