"""What the routes of the server share."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from pipelines.server.access import Access, Caller
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.requests import client_name
from pipelines.server.sessions import Sessions
from pipelines.server.work_queue import WorkQueue

Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class ServerContext:
    """What the routes of the server share.

    Attributes:
        app: An instance of `CardiacApp`.
        access: Who may do what.
        queue: Where inferences wait.
        logins: Where passwords wait, since each takes 64 MB to look at.
        sessions: Volumes that clients sent for a while.
        uploads: Existing folder for files while they are looked at.
    """

    app: Any
    access: Access
    queue: WorkQueue
    logins: WorkQueue
    sessions: Sessions
    uploads: Path

    async def run(self, request: Request, function: Callable[[], Result], kind: str) -> Result:
        """Result of a function, in the queue of inferences.

        Args:
            request: Whose work it is.
            function: The work.
            kind: What work it is; see `WorkQueue.run`.

        Raises:
            BusyError: If too many wait already.
        """
        owner = caller_of(request).name if self.access.users else ""
        return await self.queue.run(function, owner=owner, kind=kind)

    @property
    def datastore(self) -> StudiesDatastore:
        """The studies folder."""
        store: StudiesDatastore = self.app.datastore()
        return store


def caller_of(request: Request) -> Caller:
    """Who sent a request, as `Access` noted it."""
    caller: Caller = request.state.caller
    return caller


def author_of(context: ServerContext, request: Request, params: dict[str, Any]) -> str:
    """Who works on a contour: the user, or the name that a client gives itself where there is no login."""
    caller = caller_of(request)
    # Without login there is only one user, and the name that Slicer knows tells more.
    return caller.name if context.access.users else client_name(params) or caller.name


def base_of(params: dict[str, Any]) -> int | None:
    """Number of the label version that a client begins with, 0 for none; None if it knows no versions.

    Raises:
        HTTPException: 400 if `base_version` is no number of a version.
    """
    found = params.get("base_version")
    if found is not None and (not isinstance(found, int) or isinstance(found, bool) or found < 0):
        raise HTTPException(400, "expected base_version as the number of a version, 0 for none")
    return found
