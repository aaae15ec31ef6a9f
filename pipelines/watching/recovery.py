"""What a start does after the run before it was killed: folders and ledger are brought to agree."""

import json
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.watching.folders import REASON_NAME, RESULT_NAME, Folders
from pipelines.watching.ledger import Ledger
from pipelines.watching.study_row import State

KILLED = "the watcher ended while it worked on it"


def recover(ledger: Ledger, folders: Folders, *, send: bool) -> None:
    """Finish in the ledger what is finished on disk, and give back what is not.

    A folder in `studies/` or `quarantine/` took its name in one step when all of it was written, so it is
    believed. What was in work is removed. A study in quarantine whose folder somebody has removed is
    forgotten, which is how it is tried again. A folder that the ledger does not know is adopted.

    Args:
        ledger: Of the run before.
        folders: Existing folders below the output.
        send: Whether DICOM segmentations are sent to a server.

    Raises:
        DataError: If the JSON file of a finished study is damaged.
        OutputError: If the ledger cannot be written.
    """
    folders.clean()
    for row in (*ledger.in_state(State.WORKING), *ledger.in_state(State.WAITING)):
        if (folders.done / row.folder).is_dir():
            to_send = send and has_segmentation(folders.done / row.folder)
            ledger.end(row.id, State.DONE, to_send=to_send)
        elif (folders.quarantine / row.folder).is_dir():
            content = _read(folders.quarantine / row.folder / REASON_NAME)
            ledger.end(row.id, State.QUARANTINED, reason=str(content["reason"]))
        elif row.state is State.WORKING:
            ledger.wait(row.id, KILLED)
    for row in ledger.in_state(State.QUARANTINED):
        if not (folders.quarantine / row.folder).is_dir():
            ledger.forget(row.id)
    known = ledger.folders()
    for parent, name, state in (
        (folders.done, RESULT_NAME, State.DONE),
        (folders.quarantine, REASON_NAME, State.QUARANTINED),
    ):
        for folder in sorted(parent.iterdir()):
            if folder.name not in known and (folder / name).is_file():
                content = _read(folder / name)
                ledger.adopt(
                    str(content["id"]),
                    folder=folder.name,
                    kind=str(content["kind"]),
                    origin=str(content["origin"]),
                    state=state,
                )


def has_segmentation(folder: Path) -> bool:
    """Whether a study's folder holds DICOM segmentations."""
    return any(folder.glob("*_seg.dcm"))


def _read(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not {"id", "kind", "origin"} <= content.keys():
            raise ValueError("it has no id, kind or origin")
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"expected what a finished study says of itself in {path}, found {error}; "
            "remove its folder to have the study done again"
        ) from error
    found: dict[str, object] = content
    return found
