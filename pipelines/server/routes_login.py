"""Login in the flow that MONAI Label's clients speak."""

from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Form, HTTPException, Request

from pipelines.server.context import ServerContext, caller_of
from pipelines.server.gate import peer
from pipelines.server.users import ROLE_NAMES, Role, TooManyTriesError


def add_routes(router: APIRouter, context: ServerContext) -> None:
    """Add the routes below `/auth/`."""
    access = context.access

    @router.get("/auth/")
    def is_login_needed() -> dict[str, Any]:
        return {"enabled": access.users is not None}

    @router.post("/auth/token")
    async def log_in(
        request: Request,
        username: Annotated[str, Form(max_length=256)],
        password: Annotated[str, Form(max_length=4096)],
    ) -> dict[str, str | None]:
        if access.users is None:
            return {"access_token": None, "token_type": None}
        # A password in the place of the name must not get into a log.
        request.state.tried = username if access.users.role(username) else "unknown name"
        try:
            address = peer(dict(request.scope))
            access.users.check_tries(username, address)  # before one waits, so that a flood takes no room
            check = partial(access.users.is_right, username, password, address)
            is_right = await context.logins.run(check, owner=address or "unknown")
        except TooManyTriesError as error:
            wait = {"Retry-After": str(error.retry_after_s)}
            raise HTTPException(429, "too many wrong passwords, wait", wait) from error
        if not is_right:
            raise HTTPException(401, "expected a user name and its password", {"WWW-Authenticate": "Bearer"})
        return {
            "access_token": access.tokens.issue(username, access.users.mark(username)),
            "token_type": "bearer",
        }

    @router.get("/auth/token/valid")
    def who_am_i(request: Request) -> dict[str, Any]:
        caller = caller_of(request)
        return {
            "username": caller.name,
            "roles": [ROLE_NAMES[role] for role in Role if role <= caller.role],
        }

    @router.post("/auth/logout")
    def log_out(request: Request) -> dict[str, Any]:
        access.tokens.end(caller_of(request).token)
        return {}
