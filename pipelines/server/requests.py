"""Values, files and text from a request, and what clients are told of errors."""

import errno
import json
import logging
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import FastAPI, HTTPException, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse

from pipelines.core.errors import DataError, OutputError, ThoraxError
from pipelines.core.files import plain
from pipelines.server.history import StaleError, UnconfirmedError
from pipelines.server.label_file import LABEL_SUFFIXES
from pipelines.server.tasks import RESULT_SUFFIXES
from pipelines.server.work_queue import BusyError
from pipelines.server.worker import TooLargeError, TooLongError

ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
"""Names that a client may give to an image; others are looked up and need no pattern."""

UPLOAD_PATTERN: Final = re.compile(r"[^\s'\"(]*[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}[^\s:;,'\")]*")
"""Paths with a name that the server gave to what it received."""

PATH_PATTERN: Final = re.compile(r"(?<![\w.])/(?:[^/:;,'\"()\n]+/)+([^\s/:;,'\"()]*)")
"""Absolute paths of at least one folder and the last part of them."""

DEVICE_PATTERN: Final = re.compile(r"auto|cpu|cuda(:\d{1,2})?")
"""Devices that a request may name; the server keeps the one it was started with."""


def result_suffix(params: dict[str, Any]) -> str:
    """Format of the label map that an inference should give; all other parameters are dropped.

    Args:
        params: Parameters of an inference as a client sent them.

    Raises:
        HTTPException: 400 if the format, the voxel type or the device is not one that is allowed.
    """
    suffix = params.get("result_extension") or ".nrrd"
    if suffix not in RESULT_SUFFIXES:
        raise HTTPException(400, f"expected result_extension among {', '.join(RESULT_SUFFIXES)}")
    if params.get("result_dtype") not in (None, "", "uint8"):
        raise HTTPException(400, "expected result_dtype uint8")
    device = params.get("device")
    if device and not (isinstance(device, str) and DEVICE_PATTERN.fullmatch(device)):
        raise HTTPException(400, "expected device auto, cpu or cuda:0")
    return str(suffix)


def client_name(params: dict[str, Any]) -> str:
    """Name that a client gives itself, short and plain, `""` if it gives none."""
    return re.sub(r"[^\w .@-]", "", str(params.get("client_id") or ""), flags=re.ASCII)[:64]


def json_object(text: str) -> dict[str, Any]:
    """The JSON object of a form field, empty for an empty field.

    Raises:
        HTTPException: 400 if it is something else.
    """
    try:
        found = json.loads(text) if text else {}
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, "expected params to be a JSON object")
    return found


def without_places(text: str, root: Path) -> str:
    """Text for clients, without the places of files on this machine and the names that uploads have here.

    Args:
        text: What went wrong.
        root: Studies folder.
    """
    relative = plain(text).replace(f"{root}/", "")
    return PATH_PATTERN.sub(r"\1", UPLOAD_PATTERN.sub("the file", relative))


@contextmanager
def received(upload: UploadFile, folder: Path, suffixes: tuple[str, ...] = LABEL_SUFFIXES) -> Iterator[Path]:
    """A file that was sent, under a name of the server's own, until the block ends.

    Args:
        upload: File of a form.
        folder: Existing folder for it.
        suffixes: Formats that are taken; only the format is taken from the client's name.

    Raises:
        HTTPException: 400 for another format.
    """
    name = (upload.filename or "").lower()
    suffix = next((one for one in suffixes if name.endswith(one)), None)
    if suffix is None:
        raise HTTPException(400, f"expected a file as {', '.join(suffixes)}; archives are not taken")
    path = folder / f"{uuid.uuid4()}{suffix}"
    try:
        with path.open("wb") as stream:
            shutil.copyfileobj(upload.file, stream)
        yield path
    finally:
        path.unlink(missing_ok=True)


class PlainResponse(JSONResponse):
    """JSON of what a route returns, also of names of files that do not fit into UTF-8."""

    def render(self, content: Any) -> bytes:
        """The content as UTF-8; NaN is no JSON."""
        return plain(json.dumps(content, ensure_ascii=False, allow_nan=False)).encode()


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

MIN_FREE_BYTES: Final = 1_000_000
"""Space below which a write that failed for no reason told counts as failed for want of space."""


def status_of(error: BaseException) -> int:
    """Status that a client gets for an error."""
    return 507 if is_disk_full(error) else _status(error)


def _status(error: BaseException) -> int:
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

    async def answer(_: Request, error: Exception) -> JSONResponse:
        return error_answer(error, root)

    for kind in (*STATUSES, OSError):
        api.add_exception_handler(kind, answer)


def error_answer(error: Exception, root: Path) -> JSONResponse:
    """What a client is answered where a route ended with an error.

    Args:
        error: Of a kind in `STATUSES`, or of the system.
        root: Studies folder.
    """
    facts: dict[str, Any] = {}
    headers = {}
    match error:
        case StaleError() | UnconfirmedError():  # for the client to decide on, with what it needs for that
            detail, facts = plain(str(error)), error.facts
        case DataError():
            detail = without_places(str(error), root)
        case TooLargeError():
            detail = "expected work that fits into memory, found more; send less"
        case TooLongError():
            detail = "expected work that ends in time, found more; send less at a time"
        case BusyError(retry_after_s=seconds):
            detail = f"too many requests are waiting, try again in {seconds} s"
            headers = {"Retry-After": str(seconds)}
        case RequestValidationError():  # which fields do not fit, without what the client put into them
            detail = plain("; ".join(f"{one['loc'][-1]}: {one['msg']}" for one in error.errors()))
        case _:
            logger.error("%s: %s", type(error).__name__, error)
            no_reason = isinstance(error, OutputError) and not isinstance(error.__cause__, OSError)
            if is_disk_full(error) or (no_reason and shutil.disk_usage(root).free < MIN_FREE_BYTES):
                return JSONResponse({"detail": DISK_FULL}, 507)
            detail = "the server lacks something; its log says what"
    return JSONResponse({"detail": detail, **facts}, _status(error), headers)
