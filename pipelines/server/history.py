"""Accepted label maps of a studies folder and how each came about."""

import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.core.cardiac import structure_volumes_ml
from pipelines.core.errors import DataError, OutputError
from pipelines.core.files import atomic_path, file_sha256, read_json, write_json
from pipelines.core.plausibility import cannot_be_heart
from pipelines.core.records import LABEL_NAMES
from pipelines.core.volume import Volume, read_label, write_label

FINAL: Final = "final"
"""Tag of label maps that a person accepted."""

ORIGINAL: Final = "original"
"""Tag of the automatic contour that the accepted label map began with."""

TAGS: Final = (FINAL, ORIGINAL)


class StaleError(DataError):
    """A request begins with another version of a label than the newest.

    Attributes:
        facts: `label_version`, the number of the newest version, its `author` and its `time`.
    """

    def __init__(self, base: int, newest: Mapping[str, Any] | None) -> None:
        found = "no version"
        number, author, time = (newest[key] if newest else None for key in ("number", "author", "time"))
        if newest:
            found = f"version {number} by {author} at {time}"
        self.facts: dict[str, Any] = {"label_version": number or 0, "author": author, "time": time}
        super().__init__(
            f"expected version {base} to be the newest of this label, found {found}; look at it and choose "
            "which contours to go on from"
        )


class UnconfirmedError(DataError):
    """A label map cannot be that of a heart, and its author has not confirmed it.

    Attributes:
        facts: `doubts`, why it cannot be one, a sentence each.
    """

    def __init__(self, doubts: list[str]) -> None:
        self.facts = {"doubts": doubts}
        super().__init__(
            f"expected the label of a heart, found one that cannot be: {'; '.join(doubts)}; correct it, or "
            "save it with confirmed true"
        )


@dataclass(frozen=True, slots=True)
class Automatic:
    """An automatic contour.

    Attributes:
        mask: `(X, Y, Z)` uint8 label map.
        model: Name of the model.
        version: Version of its bundle.
    """

    mask: npt.NDArray[np.uint8]
    model: str
    version: str


@dataclass(frozen=True, slots=True)
class LabelVersion:
    """One accepted version of a label map.

    Attributes:
        number: Counted from 1.
        author: Who sent it.
        time: ISO 8601, UTC.
        base: Number of the version that its author began with or had seen, 0 for none; None if the client
            knows no versions, and may not have seen what this one replaces.
        model: Name and version of the model whose contour it began with, or None.
        original: The contour of that model: `file`, `sha256` and `volumes_ml`; None if there is none.
        before: What it replaces: `tag`, `sha256`, and `volumes_ml` by structure, of an accepted label also
            its `number`, `author` and `time`; None if nothing.
        after: `file` of this version in the labels folder, its `sha256` and `volumes_ml`.
        changed_voxels: Voxels that differ from `before`, None if there is nothing before.
        doubts: Why it cannot be a heart, a sentence each; what has doubts is not trained on.
        confirmed: Whether the author confirmed the doubts.
    """

    number: int
    author: str
    time: str
    base: int | None
    model: str | None
    original: dict[str, Any] | None
    before: dict[str, Any] | None
    after: dict[str, Any]
    changed_voxels: int | None
    doubts: list[str]
    confirmed: bool


class LabelStore:
    """Label maps by image id and tag, in `labels/` of the studies folder.

    Files are named `<id>_seg.nii.gz`, so that a search for studies passes them over. Each accepted
    version stays in `labels/history/<id>/` with the automatic contour that it began with and a JSON file
    that says who, when and from what.

    Args:
        root: Studies folder.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "labels"
        self._lock = threading.Lock()

    def path(self, image_id: str, tag: str = FINAL) -> Path:
        """File of a label map, which need not exist; `image_id` and `tag` are known ones."""
        return self.folder / tag / f"{image_id}_seg.nii.gz"

    def has(self, image_id: str, tag: str = FINAL) -> bool:
        """Whether there is a label map."""
        path = self.path(image_id, tag)
        return path.is_file() and path.resolve().is_relative_to(self.folder.resolve())

    def read(self, image_id: str, tag: str = FINAL) -> Volume | None:
        """Label map `(X, Y, Z)`, or None if there is none.

        Raises:
            DataError: If the file was damaged by others.
        """
        return read_label(self.path(image_id, tag)) if self.has(image_id, tag) else None

    def accept(
        self,
        image_id: str,
        mask: npt.NDArray[np.uint8],
        image: Volume,
        *,
        author: str,
        automatic: Automatic | None = None,
        base: int | None = None,
        inherits: bool = False,
        confirmed: bool | None = None,
    ) -> LabelVersion:
        """Keep a label map as the accepted one, and what was before.

        Args:
            image_id: Known id.
            mask: `(X, Y, Z)` label map, already checked.
            image: Image with the grid.
            author: Who sent it.
            automatic: Contour of a model that it began with, if known.
            base: Number of the newest version that the author has seen, 0 for none; None if the client
                knows no versions.
            inherits: Whether it began with the version before, and so with the model of that.
            confirmed: Whether the author confirmed that the label map is meant although it cannot be a
                heart; None if the client cannot ask.

        Raises:
            StaleError: If `base` is not the newest version.
            UnconfirmedError: If it cannot be a heart and `confirmed` is False.
            OutputError: If it cannot be written; what was accepted before stays.
        """
        doubts = cannot_be_heart(structure_volumes_ml(mask, image.spacing_mm))
        if doubts and confirmed is False:
            raise UnconfirmedError(doubts)
        with self._lock:
            self.check_newest(image_id, base)
            newest = self.newest(image_id) or {}
            number = self.number(image_id) + 1
            folder = self._folder(image_id)
            version = folder / f"{number:04d}_seg.nii.gz"
            previous, tag = self.read(image_id), FINAL
            model = original = None
            if automatic is not None:
                model = f"{automatic.model} {automatic.version}"
                began = folder / f"{number:04d}_original_seg.nii.gz"
                for path in (began, self.path(image_id, ORIGINAL)):
                    write_label(path, automatic.mask, image.affine)
                original = self._facts(began, automatic.mask, image)
            elif inherits:
                model, original = newest.get("model"), newest.get("original")
            if previous is None:
                previous, tag = self.read(image_id, ORIGINAL), ORIGINAL
            before: dict[str, Any] | None = None
            if previous is not None:
                before = {"tag": tag, **self._facts(self.path(image_id, tag), previous.array, image)}
                del before["file"]
                if tag == FINAL:
                    before |= {name: newest.get(name) for name in ("number", "author", "time")}
            write_label(version, mask, image.affine)
            record = LabelVersion(
                number=number,
                author=author,
                time=utc_now(),
                base=base,
                model=model,
                original=original,
                before=before,
                after=self._facts(version, mask, image),
                changed_voxels=None if previous is None else int(np.count_nonzero(previous.array != mask)),
                doubts=doubts,
                confirmed=bool(doubts and confirmed),
            )
            written = folder / f"{number:04d}.json"
            try:
                with atomic_path(self.path(image_id)) as label:
                    write_label(label, mask, image.affine)
                    # Before the label takes its name, which is the slow step of a save that is killed.
                    write_json(written, asdict(record))
            except OutputError:
                written.unlink(missing_ok=True)
                raise
            return record

    def check_newest(self, image_id: str, base: int | None) -> None:
        """Check that a request begins with the newest version of a known id.

        Args:
            image_id: Known id.
            base: Number of the version that it begins with, 0 for none; None if the client knows no versions.

        Raises:
            StaleError: If another version is the newest.
        """
        if base is not None and base != self.number(image_id):
            raise StaleError(base, self.newest(image_id))

    def number(self, image_id: str) -> int:
        """Number of the newest version of a known id, 0 if there is none."""
        return len(list(self._folder(image_id).glob(RECORDS)))

    def newest(self, image_id: str) -> dict[str, Any] | None:
        """Record of the newest version of a known id, or None."""
        newest = read_records(self._folder(image_id), newest_only=True)
        return newest[0] if newest else None

    def read_newest(self, image_id: str) -> tuple[Volume, dict[str, Any]] | None:
        """The accepted label map `(X, Y, Z)` and its record, or None; `{}` for one that others put there.

        Raises:
            DataError: If the file was damaged by others.
        """
        with self._lock:
            label = self.read(image_id)
            return None if label is None else (label, self.newest(image_id) or {})

    def read_version(
        self, image_id: str, number: int, *, original: bool = False
    ) -> tuple[Volume, dict[str, Any]]:
        """An accepted version `(X, Y, Z)`, or the automatic contour that it began with, and its record.

        Raises:
            DataError: If there is none of this number, or the file was damaged by others.
        """
        records = self.history(image_id)
        record = records[number - 1] if 1 <= number <= len(records) else {}
        file = (record.get("original" if original else "after") or {}).get("file")
        if file is None:
            raise DataError("expected a version of this label that was kept, found none of this number")
        return read_label(self.folder / file), record

    def can_teach(self, image_id: str) -> bool:
        """Whether there is an accepted label that can be a heart, so that a network may learn from it.

        Raises:
            DataError: If the file was damaged by others.
        """
        label = self.read(image_id)
        if label is None:
            return False
        return not cannot_be_heart(structure_volumes_ml(label.array, label.spacing_mm))

    def history(self, image_id: str) -> list[dict[str, Any]]:
        """Records of all accepted versions of a known id, oldest first; see `LabelVersion`."""
        return read_records(self._folder(image_id))

    def _folder(self, image_id: str) -> Path:
        return self.folder / "history" / image_id

    def _facts(self, path: Path, mask: npt.NDArray[np.uint8], image: Volume) -> dict[str, Any]:
        volumes_ml = structure_volumes_ml(mask, image.spacing_mm)
        return {
            "file": str(path.relative_to(self.folder)),
            "sha256": file_sha256(path),
            "volumes_ml": {LABEL_NAMES[label]: round(value, 2) for label, value in volumes_ml.items()},
        }


RECORDS: Final = "[0-9]*.json"


def read_records(folder: Path, *, newest_only: bool = False) -> list[dict[str, Any]]:
    """Content of a folder's numbered JSON files, in their order; empty without the folder."""
    files = sorted(folder.glob(RECORDS))
    return [read_json(path) for path in files[-1 if newest_only else 0 :]]


def utc_now() -> str:
    """The time of now in UTC, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
