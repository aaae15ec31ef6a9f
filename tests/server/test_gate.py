"""Requests that are refused before anything else."""

import pytest
from fastapi import FastAPI, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pipelines.server.gate import Gate, is_loopback

inner = FastAPI()


@inner.get("/")
def answer() -> str:
    return "in"


@inner.post("/")
def take() -> str:
    return "in"


@inner.websocket("/ws")
async def talk(socket: WebSocket) -> None:
    await socket.accept()


CLIENT = TestClient(Gate(inner, ("127.0.0.1", "heart.example", "::1"), most_bytes=10))


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("HEART.example", 200),
        ("[::1]:8000", 200),
        ("attacker.example", 400),
        ("127.0.0.1.attacker.example", 400),
        ("heart.example@attacker.example", 400),
        ("[", 400),
        ("", 400),
    ],
)
def test_only_the_names_of_the_server_are_answered(host: str, status: int) -> None:
    assert CLIENT.get("/", headers={"host": host}).status_code == status


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("https://127.0.0.1:8000", 200),
        ("http://127.0.0.1:9000", 403),
        ("https://attacker.example", 403),
        ("null", 403),
        ("http://[", 403),
    ],
)
def test_pages_of_other_sites_cannot_drive_the_server(origin: str, status: int) -> None:
    headers = {"host": "127.0.0.1:8000", "origin": origin}
    assert CLIENT.post("/", headers=headers).status_code == status


def test_no_other_site_is_told_that_it_may_read() -> None:
    answer = CLIENT.options(
        "/",
        headers={
            "host": "127.0.0.1",
            "origin": "https://attacker.example",
            "access-control-request-method": "PUT",
        },
    )
    assert answer.status_code == 403
    assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_link_of_another_site_is_refused() -> None:
    headers = {"host": "127.0.0.1", "sec-fetch-site": "cross-site"}
    assert CLIENT.get("/", headers=headers).status_code == 403


def test_long_bodies_and_those_of_unknown_length_are_refused() -> None:
    host = {"host": "127.0.0.1"}
    assert CLIENT.post("/", content=b"x" * 10, headers=host).status_code == 200
    assert CLIENT.post("/", content=b"x" * 11, headers=host).status_code == 413
    form = host | {"content-type": "multipart/form-data; boundary=x"}
    large = TestClient(Gate(inner, ("127.0.0.1",)))
    million = b"x" * 2_000_000
    assert large.post("/", content=million, headers=host).status_code == 413
    assert large.post("/", content=million, headers=form).status_code == 200
    assert CLIENT.post("/", content=iter([b"x"]), headers=host).status_code == 411
    assert CLIENT.post("/", headers=host | {"content-length": "-1"}).status_code == 400


def test_sockets_are_closed() -> None:
    with pytest.raises(WebSocketDisconnect), CLIENT.websocket_connect("/ws", headers={"host": "127.0.0.1"}):
        pass


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.1", False)]
)
def test_loopback_is_told_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
