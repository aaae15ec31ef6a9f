"""The commands of `thorax` around the labelling server."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import Device, say


def serve(
    studies: Annotated[
        Path,
        typer.Option(
            help="Folder with NIfTI files, DICOM series or ACDC patients; labels are written there."
        ),
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; another one needs --users.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    users: Annotated[
        Path | None, typer.Option(help="File of 'thorax server add-user'; without it there is no login.")
    ] = None,
    allow_host: Annotated[
        list[str] | None, typer.Option(help="Further name of this server, e.g. of a proxy; may be repeated.")
    ] = None,
    audit_names: Annotated[
        bool, typer.Option(help="Write names of images, often those of patients, into the audit log.")
    ] = False,
    device: Device = "auto",
) -> None:
    """Serve studies to 3D Slicer's MONAI Label module, on this machine only by default."""
    # Importing what a server needs takes some seconds.
    say(f"starting the server for {studies}")
    from pipelines.server.launch import serve as serve_studies

    address = f"http://{host}:{port}"
    serve_studies(
        studies,
        host=host,
        port=port,
        users=users,
        allow_hosts=tuple(allow_host or ()),
        device=device,
        audit_names=audit_names,
        on_ready=lambda: say(
            f"serving {studies} at {address}, its page at {address}/viewer/ (end with Ctrl+C)"
        ),
    )


def add_user(
    name: Annotated[str, typer.Argument(help="Name of the user.")],
    users: Annotated[Path, typer.Option(help="File of users; made if it does not exist.")],
    role: Annotated[
        Literal["user", "annotator", "reviewer", "admin"],
        typer.Option(help="user: segment; annotator: save labels too."),
    ] = "annotator",
) -> None:
    """Add a user of the labelling server, or change a password (prompted)."""
    from pipelines.server.launch import import_module

    import_module("argon2")
    from pipelines.server.users import Role
    from pipelines.server.users import add_user as add

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    add(users, name, password, Role[role.upper()])
    say(f"{name} is {role} in {users}")
