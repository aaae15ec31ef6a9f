"""Accepted label maps of a studies folder and how each came about."""

import hashlib
import json
import threading
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pipelines.core.files import write_json
from pipelines.core.indices import structure_volumes_ml
from pipelines.core.labels import LABEL_NAMES
from pipelines.core.volume import Volume, read_label, write_label

FINAL: Final = "final"
"""Tag of label maps that a person accepted."""

ORIGINAL: Final = "original"
"""Tag of the automatic contour that an accepted label map began with."""

TAGS: Final = (FINAL, ORIGINAL)


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
        model: Name and version of the model whose contour it began with, or None.
        before: What it replaces: `tag`, `sha256`, and `volumes_ml` by structure; None if nothing.
        after: `file` of this version in the labels folder, its `sha256` and `volumes_ml`.
        changed_voxels: Voxels that differ from `before`, None if there is nothing before.
    """

    number: int
    author: str
    time: str
    model: str | None
    before: dict[str, Any] | None
    after: dict[str, Any]
    changed_voxels: int | None


class LabelStore:
    """Label maps by image id and tag, in `labels/` of the studies folder.

    Files are named `<id>_seg.nii.gz`, so that a search for studies passes them over. Each accepted
    version stays in `labels/history/<id>/`, with a JSON file that says who, when and from what.

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
    ) -> LabelVersion:
        """Keep a label map as the accepted one, and what was before.

        Args:
            image_id: Known id.
            mask: `(X, Y, Z)` label map, already checked.
            image: Image with the grid.
            author: Who sent it.
            automatic: Contour of a model that it began with, if known.

        Raises:
            OutputError: If it cannot be written; what was accepted before stays.
        """
        with self._lock:
            previous = self.read(image_id)
            tag = FINAL
            if previous is None:
                if automatic is not None:
                    write_label(self.path(image_id, ORIGINAL), automatic.mask, image.affine)
                previous, tag = self.read(image_id, ORIGINAL), ORIGINAL
            number = len(self.history(image_id)) + 1
            folder = self.folder / "history" / image_id
            version = folder / f"{number:04d}_seg.nii.gz"
            before = None
            if previous is not None:
                before = {"tag": tag, **_facts(self.path(image_id, tag), previous.array, image)}
            write_label(version, mask, image.affine)
            write_label(self.path(image_id), mask, image.affine)
            record = LabelVersion(
                number,
                author,
                datetime.now(UTC).isoformat(timespec="seconds"),
                f"{automatic.model} {automatic.version}" if automatic else None,
                before,
                {"file": str(version.relative_to(self.folder)), **_facts(version, mask, image)},
                None if previous is None else int(np.count_nonzero(previous.array != mask)),
            )
            write_json(folder / f"{number:04d}.json", asdict(record))
            return record

    def history(self, image_id: str) -> list[dict[str, Any]]:
        """Records of all accepted versions of a known id, oldest first; see `LabelVersion`."""
        files = sorted((self.folder / "history" / image_id).glob("*.json"))
        return [json.loads(path.read_text(encoding="utf-8")) for path in files]


def _facts(path: Path, mask: npt.NDArray[np.uint8], image: Volume) -> dict[str, Any]:
    volumes_ml = structure_volumes_ml(mask, image.spacing_mm)
    return {
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "volumes_ml": {LABEL_NAMES[label]: round(value, 2) for label, value in volumes_ml.items()},
    }
