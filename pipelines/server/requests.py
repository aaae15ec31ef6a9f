"""What is taken from a request: known values, known files, plain text."""

import json
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from fastapi import HTTPException, UploadFile

from pipelines.server.answers import RESULT_SUFFIXES
from pipelines.server.label_file import LABEL_SUFFIXES

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


def plain(text: str) -> str:
    """Text that can be sent as UTF-8, whatever a client put into it."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


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
