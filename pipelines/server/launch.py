"""Starts the labelling server."""

import logging
import shutil
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import output_folder
from pipelines.core.install import import_extra, shipped

logger = logging.getLogger(__name__)

require: Final = partial(import_extra, extra="label", part="the packages for the labelling server")
"""Imports a module of the extra `label`."""

APP_FOLDER: Final = shipped("apps", "cardiac")

SETTINGS: Final = {
    "MONAI_LABEL_AUTO_UPDATE_SCORING": False,
    "MONAI_LABEL_SESSIONS": False,
    "MONAI_LABEL_TASKS_BATCH_INFER": False,
    "MONAI_LABEL_TRACKING_ENABLED": False,
}
"""Settings of MONAI Label that differ from its own, whatever a `.env` in the current folder says."""


def serve(
    studies: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 8000,
    users: Path | None = None,
    allow_hosts: tuple[str, ...] = (),
    device: str = "auto",
    audit_names: bool = False,
    write_page: Any = None,
    on_ready: Callable[[], None] | None = None,
) -> None:
    """Serve a studies folder to 3D Slicer and to browsers until it is interrupted.

    Args:
        studies: Existing folder with NIfTI files, DICOM series or ACDC patients; labels are
            written into it.
        host: Address to listen on.
        port: Port to listen on.
        users: File of users who can log in, or None for a server without login.
        allow_hosts: Further names under which the server is called, such as that of a reverse proxy.
        device: `"auto"` or a torch device.
        audit_names: Whether the audit log names images; their names often are those of patients.
        write_page: Writes the page of a study, see `pipelines.server.reports`; None for no pages.
        on_ready: Called once nothing speaks against it, right before listening.

    Raises:
        ConfigError: If the extra `label` is not installed, or others could reach a server without login.
        DataError: If there is no such folder.
        OutputError: If it cannot be written to.
    """
    require("monailabel")
    from pipelines.server.api import make_server
    from pipelines.server.gate import LOOPBACK, Connection, is_loopback
    from pipelines.server.users import AUDIT_NAME, AuditLog, Users

    if users is None and not (is_loopback(host) and all(is_loopback(name) for name in allow_hosts)):
        raise ConfigError(
            f"expected a login for a server that others can reach, found none for {host}; "
            "add users with 'thorax server add-user' and give their file as --users, or listen on 127.0.0.1"
        )
    known = Users(users) if users else None
    app = load_app(studies, device=device)
    hosts = (*LOOPBACK, *allow_hosts, *(() if is_loopback(host) else (host,)))
    # What is received is spooled there, and nowhere else.
    spool = Path(app.datastore().root) / ".thorax" / "tmp"
    shutil.rmtree(spool, ignore_errors=True)  # what a server that was killed left
    tempfile.tempdir = str(output_folder(spool))
    audit = AuditLog(Path(app.datastore().root) / ".thorax" / AUDIT_NAME, names=audit_names)
    server = make_server(app, users=known, hosts=hosts, audit=audit, write_page=write_page)
    if on_ready is not None:
        on_ready()
    require("uvicorn").run(
        server,
        host=host,
        port=port,
        log_level="warning",
        server_header=False,
        ws="none",
        http=Connection,
    )


def load_app(studies: Path, *, device: str = "auto") -> Any:
    """The app of `apps/cardiac` on a studies folder.

    Args:
        studies: Existing folder.
        device: `"auto"` or a torch device.

    Raises:
        ConfigError: If the extra `label` is not installed.
        DataError: If there is no such folder.
        OutputError: If it cannot be written to.
    """
    settings = require("monailabel.config").settings
    for name, value in SETTINGS.items():
        setattr(settings, name, value)
    if not studies.is_dir():
        raise DataError(f"expected a folder with studies, found none at {studies}")
    output_folder(studies)
    app_instance = require("monailabel.interfaces.utils.app").app_instance
    return app_instance(str(APP_FOLDER), str(studies.resolve()), {"device": device})
