"""The labelling server: MONAI Label's protocol around the app, with only what is safe of it.

MONAI Label's own HTTP application is not behind it: its routes read request values as paths and
expressions. Each route here is written anew around the app's objects, and `ACCESS` lists all of them.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.types import ASGIApp

from pipelines.core.errors import DataError, ThoraxError
from pipelines.server import routes, routes_datastore, routes_login, routes_training, routes_viewer
from pipelines.server.access import Access, guarded_route
from pipelines.server.context import ServerContext
from pipelines.server.gate import LOOPBACK, Gate
from pipelines.server.history import StaleError, UnconfirmedError
from pipelines.server.images import WORK_FOLDER
from pipelines.server.requests import plain, without_places
from pipelines.server.sessions import Sessions
from pipelines.server.tokens import Tokens
from pipelines.server.users import Users
from pipelines.server.work_queue import MOST_WAITING, BusyError, WorkQueue
from pipelines.server.worker import PARSER, TooLargeError, TooLongError

logger = logging.getLogger(__name__)

RESCAN_S: Final = 10.0
"""Time between two looks at the studies folder, s."""


def make_server(
    app: Any,
    *,
    users: Users | None = None,
    tokens: Tokens | None = None,
    hosts: tuple[str, ...] = LOOPBACK,
    most_waiting: int = MOST_WAITING,
) -> ASGIApp:
    """ASGI application that serves a MONAI Label app.

    Args:
        app: An instance of `CardiacApp`.
        users: Users who can log in, or None for a server without login, for this machine only.
        tokens: Makes and checks tokens; by default new ones.
        hosts: Names under which the server may be called.
        most_waiting: Inferences that may wait while one runs.
    """
    return Gate(make_api(app, users=users, tokens=tokens, most_waiting=most_waiting), hosts)


def make_api(
    app: Any, *, users: Users | None, tokens: Tokens | None = None, most_waiting: int = MOST_WAITING
) -> FastAPI:
    """The routes behind the gate; see `make_server`."""
    work = Path(app.datastore().root) / WORK_FOLDER
    uploads = work / "uploads"
    uploads.mkdir(parents=True, exist_ok=True)
    context = ServerContext(
        app=app,
        access=Access(users, tokens or Tokens()),
        queue=WorkQueue(most_waiting),
        logins=WorkQueue(),
        sessions=Sessions(work / "sessions"),
        uploads=uploads,
    )
    api = FastAPI(
        title="Thorax", openapi_url=None, docs_url=None, redoc_url=None, lifespan=_watching(context)
    )
    api.state.studies = context.datastore.root
    api.router.route_class = guarded_route(context.access)
    for part in (routes_login, routes, routes_datastore, routes_training, routes_viewer):
        part.add_routes(api.router, context)
    api.add_exception_handler(DataError, _refused)
    api.add_exception_handler(StaleError, _stale)
    api.add_exception_handler(UnconfirmedError, _unconfirmed)
    api.add_exception_handler(ThoraxError, _failed)
    api.add_exception_handler(BusyError, _busy)
    api.add_exception_handler(TooLongError, _too_long)
    api.add_exception_handler(TooLargeError, _too_large)
    api.add_exception_handler(RequestValidationError, _invalid)
    return api


def _watching(context: ServerContext) -> Any:
    """While the server runs: networks are loaded, the folder is looked at, uncertainty found."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        stop = Event()

        def watch() -> None:
            try:
                context.app.predictors.load(context.app.predictors.networks[0])
                context.app.predictors.load_corrector()
            except (ThoraxError, RuntimeError) as error:
                # MONAI lists the modules while the server still imports some: who needs it loads it.
                logger.warning("no network is loaded yet: %s", error)
            while True:
                try:
                    context.datastore.refresh()
                    while context.queue.is_idle and not stop.is_set() and context.app.uncertainty.find_one():
                        pass
                except Exception:  # the next look may find what this one stumbled over gone
                    logger.exception("cannot look at %s", context.datastore.root)
                if stop.wait(RESCAN_S):
                    return

        thread = Thread(target=watch, name="studies", daemon=True)
        thread.start()
        yield
        stop.set()
        context.app.trainings.stop()
        context.app.predictors.worker.close()
        PARSER.close()

    return lifespan


async def _refused(request: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": without_places(str(error), request.app.state.studies)}, 400)


async def _stale(_: Request, error: Exception) -> JSONResponse:
    facts = error.facts if isinstance(error, StaleError) else {}
    return JSONResponse({"detail": plain(str(error)), **facts}, 409)


async def _unconfirmed(_: Request, error: Exception) -> JSONResponse:
    facts = error.facts if isinstance(error, UnconfirmedError) else {}
    return JSONResponse({"detail": plain(str(error)), **facts}, 422)


async def _failed(_: Request, error: Exception) -> JSONResponse:
    logger.error("%s", error)
    return JSONResponse({"detail": "the server lacks something; its log says what"}, 503)


async def _too_long(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "expected work that ends in time, found more; send less at a time"}, 504)


async def _too_large(_: Request, error: Exception) -> JSONResponse:
    return JSONResponse({"detail": "expected work that fits into memory, found more; send less"}, 413)


async def _busy(_: Request, error: Exception) -> JSONResponse:
    seconds = error.retry_after_s if isinstance(error, BusyError) else 1
    detail = f"too many requests are waiting, try again in {seconds} s"
    return JSONResponse({"detail": detail}, 429, {"Retry-After": str(seconds)})


async def _invalid(_: Request, error: Exception) -> JSONResponse:
    """Which fields do not fit, without what the client put into them."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    detail = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in problems)
    return JSONResponse({"detail": plain(detail)}, 422)
