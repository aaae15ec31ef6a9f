"""Every route of the server, and who may call it."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi import Request
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from pipelines.server import users as users_module
from pipelines.server.access import ACCESS, PUBLIC
from pipelines.server.api import make_server
from pipelines.server.gate import MAX_FORM_BYTES
from pipelines.server.launch import require
from pipelines.server.users import Role

from .conftest import PASSWORD

EXPECTED = {
    ("GET", "/auth/"): PUBLIC,
    ("POST", "/auth/token"): PUBLIC,
    ("GET", "/auth/token/valid"): Role.USER,
    ("POST", "/auth/logout"): Role.USER,
    ("GET", "/info/"): Role.USER,
    ("POST", "/infer/{model}"): Role.USER,
    ("POST", "/activelearning/{strategy}"): Role.USER,
    ("GET", "/datastore/"): Role.USER,
    ("GET", "/datastore/image"): Role.USER,
    ("HEAD", "/datastore/image"): Role.USER,
    ("GET", "/datastore/image/info"): Role.USER,
    ("PUT", "/datastore/"): Role.ANNOTATOR,
    ("PUT", "/datastore/image"): Role.ANNOTATOR,
    ("GET", "/datastore/label"): Role.USER,
    ("HEAD", "/datastore/label"): Role.USER,
    ("GET", "/datastore/label/info"): Role.USER,
    ("GET", "/datastore/label/history"): Role.USER,
    ("PUT", "/datastore/label"): Role.ANNOTATOR,
    ("PUT", "/session/"): Role.USER,
    ("GET", "/session/{session_id}"): Role.USER,
    ("DELETE", "/session/{session_id}"): Role.USER,
    ("GET", "/viewer/{name:path}"): PUBLIC,
    ("GET", "/viewer/data/label"): Role.USER,
    ("POST", "/viewer/data/indices"): Role.USER,
    ("POST", "/viewer/data/measures"): Role.USER,
    ("GET", "/viewer/data/cine"): Role.USER,
    ("POST", "/viewer/data/curve"): Role.USER,
    ("GET", "/viewer/data/probability"): Role.USER,
    ("POST", "/viewer/data/xray"): Role.USER,
    ("GET", "/viewer/data/reading"): Role.USER,
    ("PUT", "/viewer/data/reading"): Role.ANNOTATOR,
    ("POST", "/viewer/data/volume"): Role.USER,
    ("GET", "/viewer/data/report"): Role.USER,
    ("POST", "/train/"): Role.REVIEWER,
    ("POST", "/train/{model}"): Role.REVIEWER,
    ("GET", "/train/"): Role.USER,
    ("DELETE", "/train/"): Role.REVIEWER,
    ("POST", "/scoring/{method}"): Role.ANNOTATOR,
    ("GET", "/scoring/"): Role.USER,
    ("DELETE", "/scoring/"): Role.ANNOTATOR,
}
"""Written out a second time on purpose: who may do what changes here too, or the test fails."""


def routes_of(router: Any) -> set[tuple[str, str]]:
    """Methods and paths of a router and of those in it."""
    found = set()
    for route in router.routes:
        inner = getattr(route, "original_router", None)
        if inner is not None:
            found |= routes_of(inner)
        elif isinstance(route, APIRoute):
            found |= {(method, route.path) for method in route.methods}
    return found


def call(client: TestClient, method: str, path: str) -> int:
    return client.request(method, path.replace("{model}", "unet").replace("{path:path}", "x")).status_code


def test_the_server_has_these_routes_and_no_others(app: Any) -> None:
    api = make_server(app).app
    assert routes_of(api) == set(EXPECTED)
    assert ACCESS == EXPECTED
    assert [route for route in api.routes if not isinstance(route, APIRoute)] == []


@pytest.mark.parametrize(("method", "path"), EXPECTED, ids=lambda part: str(part))
def test_a_route_asks_for_its_role_and_no_lower_one(
    secure: Callable[..., TestClient], method: str, path: str
) -> None:
    needed = EXPECTED[method, path]
    for role in (None, *Role):
        status = call(secure(role), method, path)
        if needed == PUBLIC:
            assert status not in (401, 403)
        elif role is None:
            assert status == 401
        elif role < needed:
            assert status == 403
        else:
            assert status not in (401, 403)


def test_what_monai_label_offers_besides_is_closed(secure: Callable[..., TestClient]) -> None:
    theirs = routes_of(require("monailabel.app").app)
    client = secure(Role.ADMIN)
    for method, path in sorted(theirs - set(EXPECTED)):
        assert call(client, method, path) in (404, 405), (method, path)
    closed = {path for _, path in theirs - set(EXPECTED)}
    assert {
        "/reload",
        "/proxy/dicom/wado/{path:path}",
        "/logs/",
        "/model/{model}",
        "/batch/infer/{model}",
    } <= closed


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/static/x", "/", "/favicon.ico", "/redoc"])
def test_nothing_else_is_served(secure: Callable[..., TestClient], path: str) -> None:
    assert secure(Role.ADMIN).get(path).status_code == 404


@pytest.mark.parametrize(
    "header", ["", "Bearer", "Bearer x", "Basic YWRtaW46YWRtaW4=", "Bearer ..", "Bearer \x00"]
)
def test_an_odd_token_is_no_token(secure: Callable[..., TestClient], header: str) -> None:
    assert secure().get("/info/", headers={"Authorization": header}).status_code == 401


def test_login_gives_a_token_that_logout_ends(secure: Callable[..., TestClient]) -> None:
    client = secure()
    form = {"username": "annotator", "password": PASSWORD, "grant_type": "password"}
    assert client.post("/auth/token", data=form | {"password": "wrong"}).status_code == 401
    answer = client.post("/auth/token", data=form).json()
    headers = {"Authorization": f"{answer['token_type']} {answer['access_token']}"}
    who = client.get("/auth/token/valid", headers=headers).json()
    assert who == {"username": "annotator", "roles": ["monailabel-user", "monailabel-annotator"]}
    assert client.post("/auth/logout", headers=headers).status_code == 200
    assert client.get("/auth/token/valid", headers=headers).status_code == 401


def test_guessing_passwords_is_slowed_down(
    secure: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users_module, "time", SimpleNamespace(monotonic=lambda: 7.0))
    client = secure()
    form = {"username": "reviewer", "password": "wrong", "grant_type": "password"}
    answers = [client.post("/auth/token", data=form) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "60"


def test_an_offered_image_can_be_fetched_without_the_token_and_no_other(
    secure: Callable[..., TestClient],
) -> None:
    user, anyone = secure(Role.USER), secure()
    assert anyone.get("/datastore/image", params={"image": "patient001_frame01"}).status_code == 401
    sample = user.post("/activelearning/first").json()
    assert "path" not in sample
    assert anyone.get("/datastore/image", params={"image": sample["id"]}).status_code == 200
    assert anyone.get("/datastore/image", params={"image": "patient001_frame03"}).status_code == 401


def test_a_body_is_not_read_before_the_token_was_looked_at(secure: Callable[..., TestClient]) -> None:
    bodies = [secure(role).post("/activelearning/first", content=b"no json") for role in (None, Role.USER)]
    assert [answer.status_code for answer in bodies] == [401, 422]


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/activelearning/first"),
        ("POST", "/train/unet"),
        ("PUT", f"/viewer/data/reading?image={'0' * 64}"),
        ("POST", "/viewer/data/indices"),
    ],
)
def test_a_form_with_a_file_is_not_read_into_memory_by_a_route_that_takes_none(
    method: str, path: str, secure: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def read(_: Request) -> bytes:
        raise AssertionError("the body was read")

    admin = secure(Role.ADMIN)
    monkeypatch.setattr(Request, "body", read)
    form = {"content-type": "multipart/form-data; boundary=x"}
    sent = b"x" * (MAX_FORM_BYTES + 1)
    assert admin.request(method, path, content=sent, headers=form).status_code == 413


def test_a_form_of_many_fields_is_not_kept_in_memory(client: TestClient) -> None:
    fields = {f"field{number}": "x" for number in range(17)}
    answer = client.put("/session/", data=fields, files={"files": ("a.nii", b"no image")})
    assert answer.status_code == 400
    assert "Too many fields" in answer.json()["detail"]
