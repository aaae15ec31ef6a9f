"""The labelling server: MONAI Label's protocol around the app, with only what is safe of it.

MONAI Label's own HTTP application is not behind it: its routes read request values as paths and
expressions. Each route here is written anew around the app's objects, and `ACCESS` lists all of them.
"""

import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any, Final

from fastapi import FastAPI

from pipelines.core.errors import ThoraxError
from pipelines.server import routes_viewer
from pipelines.server.access import Access, guarded_route
from pipelines.server.gate import LOOPBACK, Gate
from pipelines.server.images import WORK_FOLDER
from pipelines.server.reports import REPORTER, PageWriter
from pipelines.server.requests import PlainResponse, add_handlers
from pipelines.server.routes import (
    ServerContext,
    add_datastore_routes,
    add_inference_routes,
    add_login_routes,
    add_training_routes,
)
from pipelines.server.sessions import Sessions
from pipelines.server.users import AUDIT_NAME, AuditLog, Tokens, Users
from pipelines.server.work_queue import WorkQueue
from pipelines.server.worker import PARSER

logger = logging.getLogger(__name__)

RESCAN_S: Final = 10.0
"""Time between two looks at the studies folder, s."""


def make_server(
    app: Any,
    *,
    users: Users | None = None,
    tokens: Tokens | None = None,
    hosts: tuple[str, ...] = LOOPBACK,
    audit: AuditLog | None = None,
    write_page: PageWriter | None = None,
) -> Gate:
    """ASGI application that serves a MONAI Label app: the routes behind the gate.

    Args:
        app: An instance of `CardiacApp`.
        users: Users who can log in, or None for a server without login, for this machine only.
        tokens: Makes and checks tokens; by default new ones.
        hosts: Names under which the server may be called.
        audit: Where it is recorded who did what; by default in the studies folder.
        write_page: Writes the page of a study, or None for none.
    """
    work = Path(app.datastore().root) / WORK_FOLDER
    uploads = work / "uploads"
    shutil.rmtree(uploads, ignore_errors=True)  # what a server that was killed left
    uploads.mkdir(parents=True)
    context = ServerContext(
        app=app,
        access=Access(users, tokens or Tokens()),
        queue=WorkQueue(),
        logins=WorkQueue(most_of_one=2),
        sessions=Sessions(work / "sessions"),
        uploads=uploads,
        write_page=write_page,
    )
    lifespan = partial(_watching, context)
    api = FastAPI(
        title="Thorax",
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
        default_response_class=PlainResponse,
    )
    api.router.route_class = guarded_route(context.access, audit or AuditLog(work / AUDIT_NAME))
    for add_routes in (
        add_login_routes,
        add_inference_routes,
        add_datastore_routes,
        add_training_routes,
        routes_viewer.add_routes,
    ):
        add_routes(api.router, context)
    add_handlers(api, context.datastore.root)
    return Gate(api, hosts)


@asynccontextmanager
async def _watching(context: ServerContext, _: FastAPI) -> AsyncIterator[None]:
    """While the server runs: networks are loaded, the folder is looked at, uncertainty found."""
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

    Thread(target=watch, name="studies", daemon=True).start()
    yield
    stop.set()
    context.app.trainings.stop()
    context.app.predictors.worker.close()
    PARSER.close()
    REPORTER.close()
