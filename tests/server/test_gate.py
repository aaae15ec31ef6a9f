"""Requests that are refused before anything else."""

import socket
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn
from fastapi import FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from pipelines.server import gate
from pipelines.server.gate import Gate, is_loopback

inner = FastAPI()


@inner.get("/")
def answer() -> str:
    return "in"


@inner.post("/")
def take() -> str:
    return "in"


@inner.post("/form")
async def take_form(request: Request) -> str:
    return (await request.body()).decode()


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


def test_no_other_site_is_allowed_to_read() -> None:
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


def test_a_login_is_received_only_if_it_is_short() -> None:
    large = TestClient(Gate(inner, ("127.0.0.1",)))
    form = {"host": "127.0.0.1", "content-type": "multipart/form-data; boundary=x"}
    assert large.post("/auth/token", content=b"x" * 17_000, headers=form).status_code == 413
    assert large.post("/auth/token", content=b"x" * 15_000, headers=form).status_code == 404


def test_a_body_of_two_lengths_ends_the_connection() -> None:
    headers = {"host": "127.0.0.1", "content-length": "1", "transfer-encoding": "chunked"}
    answer = CLIENT.post("/", content=b"x", headers=headers)
    assert answer.status_code == 411
    assert answer.headers["connection"] == "close"


def test_no_answer_is_kept_or_guessed_at_unless_it_says_so() -> None:
    for path in ("/", "/absent"):
        answer = CLIENT.get(path, headers={"host": "127.0.0.1"})
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
    assert CLIENT.get("/", headers={"host": "away"}).headers["cache-control"] == "no-store"


@pytest.fixture
def port(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A server that does not wait long."""
    monkeypatch.setattr(gate, "HEADERS_S", 0.3)
    monkeypatch.setattr(gate, "PAUSE_S", 0.3)
    config = uvicorn.Config(
        Gate(inner), port=0, http=gate.Connection, log_level="error", timeout_keep_alive=1
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    thread.join()


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"", b""),
        (b"POST / HT", b""),
        (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: y\r\n", b""),
        (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\nGET / HTTP/1.1\r\nHo", b"HTTP/1.1 200 OK"),
        (b"POST /form HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\nxx", b"HTTP/1.1 408 "),
        (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"0\r\n\r\nGET /",
            b"HTTP/1.1 411 ",
        ),
    ],
)
def test_half_a_request_is_not_waited_for(port: int, sent: bytes, status: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
        connection.sendall(sent)
        found = b""
        while part := connection.recv(10_000):
            found += part
    assert found[: len(status)] == status
    assert found.count(b"HTTP/1.1") == bool(status)


def test_sockets_are_closed() -> None:
    with pytest.raises(WebSocketDisconnect), CLIENT.websocket_connect("/ws", headers={"host": "127.0.0.1"}):
        pass


@pytest.mark.parametrize(
    ("host", "expected"), [("127.0.0.1", True), ("localhost", True), ("0.0.0.0", False), ("10.0.0.1", False)]
)
def test_loopback_is_distinguished_from_the_rest(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected
