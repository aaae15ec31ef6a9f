"""What is refused before a request is looked at: foreign hosts and pages, endless bodies, slow senders."""

import asyncio
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, ClassVar, Final
from urllib.parse import urlsplit

from starlette.datastructures import MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

MAX_BYTES: Final = 512 * 1024 * 1024
"""Largest body of a request; a cine of 30 frames in float32 has about 40 MB."""


MAX_FORM_BYTES: Final = 1024 * 1024
"""Largest body that holds no file; it is read into memory."""


MAX_LOGIN_BYTES: Final = 16 * 1024
"""Largest body of a request that needs no login; these are the only ones that are received before one."""

LOGIN_PATHS: Final = "/auth/"

HEADERS_S: Final = 15.0
"""Time in which the headers of a request must arrive, s."""

PAUSE_S: Final = 30.0
"""Longest pause in a body, s."""

MIN_BYTES_A_S: Final = 20_000
"""Slowest sending of a body on average, bytes/s."""

MAX_CONNECTIONS: Final = 64
"""Connections from one address other than this machine, where a proxy may stand for many."""

PRIVATE: Final = {"cache-control": "no-store", "x-content-type-options": "nosniff"}
"""Headers of every answer that has none of its own: what is told is of patients."""


class Gate:
    """ASGI application that lets only requests to known hosts and from the same origin through.

    A page of another site could otherwise drive a server on the reader's own machine, directly or by
    pointing a name of its own to 127.0.0.1.

    Args:
        app: Application behind the gate.
        hosts: Names under which the server may be called, without port.
        most_bytes: Largest body of a request.
    """

    def __init__(self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK, *, most_bytes: int = MAX_BYTES) -> None:
        self.app = app
        self.hosts = frozenset(host.lower() for host in hosts)
        self.most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer 400, 403, 411 or 413, or hand on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            status, reason = refusal
            # What is left of the body is not read, nor taken for a request.
            answer = JSONResponse({"detail": reason}, status, {"Connection": "close", **PRIVATE})
            await answer(scope, receive, send)
            return
        # As `_refusal` let it pass.
        body = _Body(receive, sum(map(int, _values(scope["headers"], b"content-length"))))

        async def send_privately(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=list(message.get("headers", ())))
                for name, value in PRIVATE.items():
                    headers.setdefault(name, value)
                if body.is_late:
                    headers.append("connection", "close")
                    message = {**message, "status": 408}
                message = {**message, "headers": headers.raw}
            await send(message)

        await self.app(scope, body.receive, send_privately)

    def _refusal(self, scope: Scope) -> tuple[int, str] | None:
        headers: list[tuple[bytes, bytes]] = scope["headers"]
        hosts, origins = _values(headers, b"host"), _values(headers, b"origin")
        if len(hosts) != 1 or _host(f"//{hosts[0]}") not in self.hosts:
            return 400, "expected a host that this server is told to answer to; see thorax serve --allow-host"
        if any(urlsplit(_safe(origin)).netloc.lower() != hosts[0].lower() for origin in origins):
            return 403, "expected a request of this server's own pages, found one of another site"
        if _values(headers, b"sec-fetch-site") not in ([], ["same-origin"], ["none"]):
            return 403, "expected a request of this server's own pages, found one of another site"
        lengths = _values(headers, b"content-length")
        if _values(headers, b"transfer-encoding"):
            return 411, "expected the length of the body, found none"
        if len(lengths) > 1:
            return 400, "expected the length of the body once"
        if lengths and (not lengths[0].isascii() or not lengths[0].isdigit()):
            return 400, "expected the length of the body as a number"
        kinds = _values(headers, b"content-type")
        has_file = bool(kinds) and kinds[0].lower().startswith("multipart/form-data")
        most = self.most_bytes if has_file else min(self.most_bytes, MAX_FORM_BYTES)
        if scope["path"].startswith(LOGIN_PATHS):
            most = min(most, MAX_LOGIN_BYTES)
        if lengths and int(lengths[0][:20]) > most:
            return 413, f"expected at most {most} bytes, found {lengths[0][:20]}"
        return None


class _Body:
    """The body of a request, which ends as if the sender were gone when it comes too slowly."""

    def __init__(self, receive: Receive, length: int) -> None:
        self._receive = receive
        self._until = time.monotonic() + PAUSE_S + length / MIN_BYTES_A_S
        self._is_whole = False
        self.is_late = False

    async def receive(self) -> Message:
        if self._is_whole:
            return await self._receive()
        left = min(PAUSE_S, self._until - time.monotonic())
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, left))
        except TimeoutError:
            self.is_late = True
            return {"type": "http.disconnect"}
        self._is_whole = not message.get("more_body", False)
        return message


class Connection(H11Protocol):
    """Connection of uvicorn that ends when a request's headers do not arrive, or one address has too many."""

    open: ClassVar[Counter[str]] = Counter()

    def connection_made(self, transport: Any) -> None:
        """Begin to wait for the headers of a request."""
        super().connection_made(transport)
        self._address = str(self.client[0]) if self.client else ""
        self.open[self._address] += 1
        self._timer: asyncio.TimerHandle | None = None
        self._wait()
        if self.open[self._address] > MAX_CONNECTIONS and not is_loopback(self._address):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_waiting()
        self.open[self._address] -= 1
        if not self.open[self._address]:
            del self.open[self._address]
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Go on to wait unless a request began or is being answered."""
        before = self.cycle
        super().data_received(data)
        if self.cycle is not before:
            self._stop_waiting()
        elif self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._wait()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(HEADERS_S, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _values(headers: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for key, value in headers if key.lower() == name]


def _safe(url: str) -> str:
    """The URL, or an empty one if it has no host that can be read."""
    return url if _host(url) else ""


def _host(url: str) -> str:
    try:
        return (urlsplit(url).hostname or "").lower()
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    """Whether only the same machine can reach a server that listens there."""
    return host.lower() in LOOPBACK


def peer(request: HTTPConnection) -> str:
    """Address of who sent a request, `""` if it is not known."""
    return request.client.host if request.client else ""
