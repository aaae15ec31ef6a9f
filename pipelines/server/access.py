"""Who may call which route of the server; what is not listed is closed."""

import hmac
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

from fastapi import Request, Response
from fastapi.params import File
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException  # of FastAPI's too, which parses bodies

from pipelines.server.gate import MAX_FORM_BYTES, peer
from pipelines.server.requests import DISK_FULL, is_disk_full, status_of
from pipelines.server.users import DEEDS, AuditLog, Role, Tokens, Users

PUBLIC: Final = 0
"""Access that needs no login."""

ACCESS: Final[dict[tuple[str, str], int]] = {
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
"""Least role that a method of a route needs, or `PUBLIC`."""

GRANT_S: Final = 120.0
"""Time in which an image that was offered may be fetched without a token, s."""

MAX_UPLOADS: Final = 4
"""Requests of one user with a large body at a time."""

MAX_FIELDS: Final = 16
"""Fields of a form other than files; each may have 1 MB and is kept in memory."""

MAX_GRANTS: Final = 256

DOWNLOADS: Final = ("/datastore/image",)
"""Routes that Slicer's module calls without its token, right after it was offered the image."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request.

    Attributes:
        name: User name.
        role: What the user may do.
        token: Token of the login, `""` without one.
    """

    name: str
    role: Role
    token: str = ""


LOCAL: Final = Caller("local", Role.ADMIN)
"""Whoever calls a server without login, which only the same machine can reach."""


class Access:
    """Decides on every request by `ACCESS`.

    Args:
        users: Users who can log in, or None for a server without login.
        tokens: Makes and checks their tokens.
    """

    def __init__(self, users: Users | None, tokens: Tokens) -> None:
        self.users = users
        self.tokens = tokens
        self._grants: dict[tuple[str, str], float] = {}

    def check(self, request: Request, path: str) -> None:
        """Note the caller in `request.state.caller`.

        Args:
            request: A request whose body was not read yet.
            path: The route that it matched, as in `ACCESS`.

        Raises:
            HTTPException: 404 for a route that is not listed, 401 without a valid token, 403 for
                another role.
        """
        needed = ACCESS.get((request.method, path))
        if needed is None:
            raise HTTPException(404, "Not Found")
        caller = LOCAL if self.users is None else self._caller(request, self.users)
        request.state.caller = caller
        if needed == PUBLIC or (caller is None and path in DOWNLOADS and self._is_granted(request)):
            return
        if caller is None:
            raise HTTPException(401, "Could not validate credentials", {"WWW-Authenticate": "Bearer"})
        if caller.role < needed:
            raise HTTPException(403, f"expected the role {Role(needed).name.lower()} for this request")

    def grant(self, request: Request, image_id: str) -> None:
        """Let the sender of a request fetch an image that it was offered.

        Slicer's module downloads images without its token; the grant is for the same address, this
        image and a short time only.
        """
        now = time.monotonic()
        self._grants = {key: until for key, until in self._grants.items() if until > now}
        while len(self._grants) >= MAX_GRANTS:
            self._grants.pop(next(iter(self._grants)))
        self._grants[peer(request), image_id] = now + GRANT_S

    def _is_granted(self, request: Request) -> bool:
        key = (peer(request), request.query_params.get("image", ""))
        return request.method == "GET" and self._grants.get(key, 0.0) > time.monotonic()

    def _caller(self, request: Request, users: Users) -> Caller | None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        name = self.tokens.name(token.strip()) if scheme.lower() == "bearer" else None
        if name and not hmac.compare_digest(self.tokens.mark(token.strip()), users.mark(name)):
            name = None  # the password was changed since, or the user removed
        role = users.role(name) if name else None
        return Caller(name, role, token.strip()) if name and role else None


def guarded_route(access: Access, audit: AuditLog) -> type[APIRoute]:
    """Class of routes that ask `access` before they read a request's body, and record what came of it."""
    uploads: Counter[str] = Counter()

    class GuardedRoute(APIRoute):
        def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
            answer = super().get_route_handler()

            async def guarded(request: Request) -> Response:
                request.state.caller = None
                status = 500
                try:
                    response = await admitted(request)
                    status = response.status_code
                    return response
                except HTTPException as error:
                    status = error.status_code
                    if is_disk_full(error):
                        status = 507
                        raise HTTPException(507, DISK_FULL) from error
                    raise
                except Exception as error:
                    status = status_of(error)
                    raise
                finally:
                    _record(audit, request, self.path, status)

            async def admitted(request: Request) -> Response:
                access.check(request, self.path)
                request.form = partial(request.form, max_fields=MAX_FIELDS)
                if int(request.headers.get("content-length") or 0) <= MAX_FORM_BYTES:
                    return await answer(request)
                # A file is spooled to disk; any other body would be read into memory.
                if not isinstance(getattr(self.body_field, "field_info", None), File):
                    raise HTTPException(413, f"expected at most {MAX_FORM_BYTES} bytes without a file")
                # Received before a route sees it: nobody may fill the disk or the connections alone.
                who = caller.name if (caller := request.state.caller) else ""
                if uploads[who] >= MAX_UPLOADS:
                    raise HTTPException(429, "expected fewer uploads at a time", {"Retry-After": "5"})
                uploads[who] += 1
                try:
                    return await answer(request)
                finally:
                    uploads[who] -= 1

            return guarded

    return GuardedRoute


def _record(audit: AuditLog, request: Request, path: str, status: int) -> None:
    deed = DEEDS.get((request.method, path))
    if deed is None and status in (401, 403):
        deed = f"{request.method} {path}"
    if deed is not None:
        caller = request.state.caller
        query = request.query_params
        audit.record(
            deed,
            status,
            who=getattr(request.state, "tried", "") or (caller.name if caller else ""),
            address=peer(request),
            image=query.get("image") or query.get("label") or "",
        )
