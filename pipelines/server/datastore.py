"""A studies folder as MONAI Label's datastore."""

import shutil
import threading
from collections import OrderedDict
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
from monailabel.interfaces.datastore import Datastore

from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.indices import structure_volumes_ml
from pipelines.core.labels import AcdcLabel
from pipelines.core.volume import read_volume
from pipelines.server.admission import check_volume, claimed_shape
from pipelines.server.drafts import Drafts
from pipelines.server.history import FINAL, TAGS, Automatic, LabelStore
from pipelines.server.images import PhaseFinder, ServedImage, StudyImages
from pipelines.server.label_file import read_sent_label
from pipelines.server.worker import PARSER

KEPT_CONTOURS: Final = 32
"""Automatic contours that are kept in memory, the latest ones; about 1 MB each."""


class StudiesDatastore(Datastore):
    """Images and labels of a studies folder; ids are looked up and never made into paths.

    Args:
        root: Existing studies folder.
        find_phases: Finds ED and ES in a cine that no `Info.cfg` explains.
    """

    def __init__(self, root: Path, find_phases: PhaseFinder) -> None:
        self.root = root
        self.images = StudyImages(root, find_phases)
        self.labels = LabelStore(root)
        self.drafts = Drafts()
        self.client_info: dict[str, dict[str, Any]] = {}
        self._contours: OrderedDict[str, Automatic] = OrderedDict()
        self._lock = threading.Lock()
        self.images.scan(unfold=False)

    def image(self, image_id: str) -> ServedImage:
        """The image with this id.

        Raises:
            DataError: If there is none.
        """
        found = self.images.get(image_id)
        if found is None:
            raise DataError("expected the id of an image of the studies folder, found none of this name")
        return found

    def image_at(self, path: Path) -> ServedImage | None:
        """The image in a file, or None if the file is none of the folder's."""
        return next((image for image in self.images.all() if image.path == path), None)

    def remember(self, image_id: str, contour: Automatic) -> None:
        """Keep an automatic contour until a person accepts or corrects it."""
        with self._lock:
            self._contours[image_id] = contour
            self._contours.move_to_end(image_id)
            while len(self._contours) > KEPT_CONTOURS:
                self._contours.popitem(last=False)

    def remembered(self, image_id: str) -> Automatic | None:
        """The latest automatic contour of an image, or None."""
        return self._contours.get(image_id)

    def volumes_ml(self, image_id: str) -> Mapping[AcdcLabel, float] | None:
        """Volumes in mL by the accepted label, else the automatic contour, else None."""
        mask: npt.NDArray[np.uint8] | None = None
        label = self.labels.read(image_id)
        if label is not None:
            return structure_volumes_ml(label.array, label.spacing_mm)
        contour = self.remembered(image_id)
        mask = contour.mask if contour else None
        if mask is None:
            return None
        return structure_volumes_ml(mask, read_volume(self.image(image_id).path).spacing_mm)

    def save_label(
        self, image_id: str, label_filename: str, label_tag: str, label_info: dict[str, Any]
    ) -> str:
        """Check a label map and keep it as the accepted one.

        Args:
            image_id: Id of the image.
            label_filename: Existing file that a client sent.
            label_tag: `"final"`, or empty for it.
            label_info: `label_info`, the client's list of segments, and `user`.

        Returns:
            The id of the image.

        Raises:
            DataError: If the image is unknown, or the file is no label map of it.
            OutputError: If it cannot be written.
        """
        if label_tag not in ("", FINAL):
            raise DataError(f"expected the tag {FINAL!r} for a label that is sent, found another")
        path = self.image(image_id).path
        image = read_volume(path)
        segments = label_info.get("label_info") or []
        if not isinstance(segments, list) or not all(isinstance(one, dict) for one in segments):
            raise DataError("expected label_info to be a list of segments with their names")
        mask = read_sent_label(Path(label_filename), image, segments)
        author = str(label_info.get("user") or "unknown")
        self.labels.accept(image_id, mask, image, author=author, automatic=self.remembered(image_id))
        self.drafts.accept(path, author, mask)
        return image_id

    def add_image(self, image_id: str, image_filename: str, image_info: dict[str, Any]) -> str:
        """Copy a volume that a client sent into the studies folder.

        Args:
            image_id: New name; checked by the caller to be safe as a file name.
            image_filename: Existing NIfTI file.
            image_info: Not used.

        Raises:
            DataError: If it is no 3-D volume or the name is taken.
            OutputError: If it cannot be written.
        """
        shape = claimed_shape(Path(image_filename))
        suffix = ".nii.gz" if image_filename.endswith(".gz") else ".nii"
        path = self.root / f"{image_id}{suffix}"
        if self.images.get(image_id) or path.exists() or len(shape) != 3:
            raise DataError("expected a new name and a 3-D volume, found a name that is taken or a cine")
        PARSER.call(check_volume, Path(image_filename))
        with atomic_path(path) as temporary:
            shutil.copyfile(image_filename, temporary)
        self.images.scan(unfold=False)
        return image_id

    def get_image_uri(self, image_id: str) -> str:
        """Path of an image, `""` if there is none."""
        found = self.images.get(image_id)
        return str(found.path) if found else ""

    def get_image(self, image_id: str, params: Any = None) -> BytesIO | None:
        """Content of an image file, or None if there is none."""
        found = self.images.get(image_id)
        return BytesIO(found.path.read_bytes()) if found else None

    def get_image_info(self, image_id: str) -> dict[str, Any]:
        """What is known of an image, `{}` if there is none."""
        found = self.images.get(image_id)
        if found is None:
            return {}
        return {
            "name": found.path.name,
            "patient": found.patient,
            "phase": found.phase.value if found.phase else None,
            "frame": found.frame,
            "partner": found.partner,
            "has_cine": found.cine is not None,
            **self.client_info.get(image_id, {}),
        }

    def update_image_info(self, image_id: str, info: dict[str, Any]) -> None:
        """Note something about an image until the server ends."""
        self.client_info.setdefault(self.image(image_id).id, {}).update(info)

    def get_label_uri(self, label_id: str, label_tag: str) -> str:
        """Path of a label map, `""` if there is none."""
        known = label_tag in TAGS and self.images.get(label_id) and self.labels.has(label_id, label_tag)
        return str(self.labels.path(label_id, label_tag)) if known else ""

    def get_label(self, label_id: str, label_tag: str, params: Any = None) -> BytesIO | None:
        """Content of a label file, or None if there is none."""
        path = self.get_label_uri(label_id, label_tag)
        return BytesIO(Path(path).read_bytes()) if path else None

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """The newest record of a label's history, `{}` if there is none."""
        if not self.get_label_uri(label_id, label_tag):
            return {}
        records = self.labels.history(label_id)
        return {"history": records[-1]} if records else {}

    def get_labels_by_image_id(self, image_id: str) -> dict[str, str]:
        """Tags of the labels that an image has."""
        return {tag: image_id for tag in TAGS if self.get_label_uri(image_id, tag)}

    def get_label_by_image_id(self, image_id: str, tag: str) -> str:
        """Id of an image's label with a tag, `""` if there is none."""
        return self.get_labels_by_image_id(image_id).get(tag, "")

    def list_images(self) -> list[str]:
        """Ids of all images."""
        return [image.id for image in self.images.all()]

    def get_labeled_images(self, label_tag: str | None = None, labels: Any = None) -> list[str]:
        """Ids of images with an accepted label."""
        return [name for name in self.list_images() if self.labels.has(name)]

    def get_unlabeled_images(self, label_tag: str | None = None, labels: Any = None) -> list[str]:
        """Ids of images without an accepted label."""
        return [name for name in self.list_images() if not self.labels.has(name)]

    def datalist(self, full_path: bool = True) -> list[dict[str, Any]]:
        """Pairs of image and accepted label."""
        return [
            {"image": self.get_image_uri(name), "label": self.get_label_uri(name, FINAL)}
            for name in self.get_labeled_images()
        ]

    def status(self) -> dict[str, Any]:
        """Counts, and what was put aside in the folder."""
        tags = {tag: sum(self.labels.has(name, tag) for name in self.list_images()) for tag in TAGS}
        return {
            "total": len(self.list_images()),
            "completed": tags[FINAL],
            "label_tags": tags,
            "problems": len(self.images.problems),
        }

    def json(self) -> dict[str, Any]:
        """Every image with what is known of it and its labels, without paths."""
        return {
            "objects": {
                name: {
                    "image": {"info": self.get_image_info(name)},
                    "labels": {
                        tag: {"info": self.get_label_info(name, tag)}
                        for tag in self.get_labels_by_image_id(name)
                    },
                }
                for name in self.list_images()
            }
        }

    def refresh(self) -> None:
        """Look at the folder again, and unfold what is new in it."""
        self.images.refresh()

    def name(self) -> str:
        """Name of the studies folder."""
        return self.root.name

    def description(self) -> str:
        """What it holds, in words."""
        return "Short-axis volumes and their label maps"

    def set_name(self, name: str) -> None:
        """Refused: the folder has its name."""
        raise _closed("renaming the studies folder")

    def set_description(self, description: str) -> None:
        """Refused: it is fixed."""
        raise _closed("describing the studies folder")

    def get_dataset_archive(self, limit_cases: int | None) -> str:
        """Refused: whole archives are not sent."""
        raise _closed("sending the whole folder")

    def remove_image(self, image_id: str) -> None:
        """Refused: clients cannot remove images."""
        raise _closed("removing images")

    def remove_label(self, label_id: str, label_tag: str) -> None:
        """Refused: clients cannot remove labels."""
        raise _closed("removing labels")

    def update_label_info(self, label_id: str, label_tag: str, info: dict[str, Any]) -> None:
        """Refused: the history of a label is not rewritten."""
        raise _closed("rewriting the history of labels")


def _closed(deed: str) -> DataError:
    return DataError(f"expected a request that the server serves: {deed} is not; do it in the folder itself")
