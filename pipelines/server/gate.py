"""What is refused before a request is looked at: foreign hosts, foreign pages, endless bodies."""

from collections.abc import Iterable
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK: Final = ("127.0.0.1", "localhost", "::1")

MOST_BYTES: Final = 512 * 1024 * 1024
"""Largest body of a request; a cine of 30 frames in float32 has about 40 MB."""


MOST_FORM_BYTES: Final = 1024 * 1024
"""Largest body that holds no file; it is read into memory."""


class Gate:
    """ASGI application that lets only requests to known hosts and from the same origin through.

    A page of another site could otherwise drive a server on the reader's own machine, directly or by
    pointing a name of its own to 127.0.0.1.

    Args:
        app: Application behind the gate.
        hosts: Names under which the server may be called, without port.
        most_bytes: Largest body of a request.
    """

    def __init__(
        self, app: ASGIApp, hosts: Iterable[str] = LOOPBACK, *, most_bytes: int = MOST_BYTES
    ) -> None:
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
            await JSONResponse({"detail": reason}, status)(scope, receive, send)
            return
        await self.app(scope, receive, send)

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
        if lengths and (not lengths[0].isascii() or not lengths[0].isdigit()):
            return 400, "expected the length of the body as a number"
        kinds = _values(headers, b"content-type")
        has_file = bool(kinds) and kinds[0].lower().startswith("multipart/form-data")
        most = self.most_bytes if has_file else min(self.most_bytes, MOST_FORM_BYTES)
        if lengths and int(lengths[0][:20]) > most:
            return 413, f"expected at most {most} bytes, found {lengths[0][:20]}"
        return None


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


def peer(scope: dict[str, Any]) -> str:
    """Address of who sent a request, `""` if it is not known."""
    client = scope.get("client")
    return str(client[0]) if client else ""
