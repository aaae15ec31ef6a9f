"""The commands of `thorax` around the labelling server and learning from its labels."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines import __version__
from pipelines.cli import options as opt
from pipelines.cli.options import bar, say
from pipelines.core.errors import DataError


def serve(
    studies: Annotated[
        Path,
        typer.Argument(
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
    device: opt.Device = "auto",
) -> None:
    """Serve studies to 3D Slicer's MONAI Label module, on this machine only by default."""
    # Importing what a server needs takes some seconds.
    say(f"starting the server for {studies}")
    from pipelines.reporting.study_page import StudyPages
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
        write_page=StudyPages(f"Thorax {__version__} (accepted labels)"),
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
    from pipelines.server.launch import require

    require("argon2")
    from pipelines.server.users import Role
    from pipelines.server.users import add_user as add

    if sys.stdin.isatty():
        password = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        password = sys.stdin.readline().rstrip("\n")
    add(users, name, password, Role[role.upper()])
    say(f"{name} is {role} in {users}")


def fine_tune(
    studies: Annotated[Path, typer.Argument(help="Studies folder of 'thorax serve', with accepted labels.")],
    network: Annotated[opt.AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")] = "unet",
    epochs: Annotated[int, typer.Option(help="How often each slice is shown.", min=1, max=200)] = 20,
    batch_size: Annotated[int, typer.Option(help="Slices at a time.", min=1, max=32)] = 6,
    device: opt.Device = "auto",
) -> None:
    """Train on the accepted labels; serve the new weights if they are better."""
    from pipelines.server.learning import fine_tune as train_on

    with bar("Training"):
        found = train_on(studies, network, epochs=epochs, batch_size=batch_size, device=device)
    names = ", ".join(
        f"{name} {found.before[name] or 0:.3f} to {found.after[name] or 0:.3f}" for name in found.after
    )
    say(f"Dice on {len(found.patients['validation'])} validation patients: {names}")
    if found.version is None:
        say("not better than what is served, so nothing was published")
    else:
        say(f"published as version {found.version} of {network}; 'thorax server restore' goes back")


def restore_model(
    studies: Annotated[Path, typer.Argument(help="Studies folder of 'thorax serve'.")],
    network: Annotated[opt.AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")],
    version: Annotated[
        int | None, typer.Option(help="Version to serve; 0: the bundle's own; the one before without it.")
    ] = None,
) -> None:
    """Serve other weights of a network that were kept; a running server takes them at once."""
    from pipelines.server.predictors import PublishedWeights

    if not studies.is_dir():
        raise DataError(f"expected a folder with studies, found none at {studies}")
    published = PublishedWeights(studies)
    for record in published.versions(network):
        mean = record["dice"]["mean"] or 0.0
        say(f"version {record['version']} of {record['time']}: mean Dice {mean:.3f} on validation")
    say(f"version {published.restore(network, version)} of {network} is served now")
