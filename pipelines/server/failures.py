"""What clients are told of errors: a status, and words without the places of files on this machine."""

import errno
import logging
import shutil
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from pipelines.core.errors import DataError, OutputError, ThoraxError
from pipelines.server.history import StaleError, UnconfirmedError
from pipelines.server.requests import plain, without_places
from pipelines.server.work_queue import BusyError
from pipelines.server.worker import TooLargeError, TooLongError

logger = logging.getLogger(__name__)

STATUSES: Final[dict[type[Exception], int]] = {
    StaleError: 409,
    UnconfirmedError: 422,
    DataError: 400,
    TooLargeError: 413,
    RequestValidationError: 422,
    BusyError: 429,
    ThoraxError: 503,
    TooLongError: 504,
}
"""Status for each error; of a class and its base the class comes first."""

DISK_FULL: Final = "the server's disk is full: nothing was saved; free some space there and try again"

LEAST_FREE_BYTES: Final = 1_000_000
"""Space below which a write that failed for no reason told counts as failed for want of space."""


def status_of(error: BaseException) -> int:
    """Status that a client gets for an error."""
    if is_disk_full(error):
        return 507
    return next((status for kind, status in STATUSES.items() if isinstance(error, kind)), 500)


def is_disk_full(error: BaseException | None) -> bool:
    """Whether an error, or what it came from, is that there is no space left."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__
    return False


def add_handlers(api: FastAPI, root: Path) -> None:
    """Answer errors of routes.

    Args:
        api: Server.
        root: Studies folder.
    """
    for kind, handler in (
        (StaleError, _unsettled),
        (UnconfirmedError, _unsettled),
        (DataError, _refused),
        (TooLargeError, _too_large),
        (RequestValidationError, _invalid),
        (BusyError, _busy),
        (ThoraxError, _failed),
        (TooLongError, _too_long),
        (OSError, _failed),
    ):
        api.add_exception_handler(kind, _bound(handler, root))


Handler = Callable[[Exception, Path], JSONResponse]


def _bound(handler: Handler, root: Path) -> Callable[[Request, Exception], Coroutine[Any, Any, JSONResponse]]:
    async def answer(_: Request, error: Exception) -> JSONResponse:
        return handler(error, root)

    return answer


def _refused(error: Exception, root: Path) -> JSONResponse:
    return JSONResponse({"detail": without_places(str(error), root)}, 400)


def _unsettled(error: Exception, root: Path) -> JSONResponse:
    """What the client has to decide on, with the facts that it needs for that."""
    facts = error.facts if isinstance(error, StaleError | UnconfirmedError) else {}
    return JSONResponse({"detail": plain(str(error)), **facts}, status_of(error))


def _failed(error: Exception, root: Path) -> JSONResponse:
    logger.error("%s: %s", type(error).__name__, error)
    no_reason = isinstance(error, OutputError) and not isinstance(error.__cause__, OSError)
    if is_disk_full(error) or (no_reason and shutil.disk_usage(root).free < LEAST_FREE_BYTES):
        return JSONResponse({"detail": DISK_FULL}, 507)
    status = status_of(error)
    return JSONResponse({"detail": "the server lacks something; its log says what"}, status)


def _too_long(_: Exception, root: Path) -> JSONResponse:
    return JSONResponse({"detail": "expected work that ends in time, found more; send less at a time"}, 504)


def _too_large(_: Exception, root: Path) -> JSONResponse:
    return JSONResponse({"detail": "expected work that fits into memory, found more; send less"}, 413)


def _busy(error: Exception, root: Path) -> JSONResponse:
    seconds = error.retry_after_s if isinstance(error, BusyError) else 1
    detail = f"too many requests are waiting, try again in {seconds} s"
    return JSONResponse({"detail": detail}, 429, {"Retry-After": str(seconds)})


def _invalid(error: Exception, root: Path) -> JSONResponse:
    """Which fields do not fit, without what the client put into them."""
    problems = error.errors() if isinstance(error, RequestValidationError) else []
    detail = "; ".join(f"{problem['loc'][-1]}: {problem['msg']}" for problem in problems)
    return JSONResponse({"detail": plain(detail)}, 422)
