"""A studies folder as MONAI Label's datastore."""

import shutil
import threading
import uuid
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pipelines.core.cardiac import structure_volumes_ml
from pipelines.core.errors import DataError
from pipelines.core.files import atomic_path
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import read_volume
from pipelines.server.admission import check_volume, claimed_shape
from pipelines.server.drafts import Drafts
from pipelines.server.history import FINAL, TAGS, Automatic, LabelStore, LabelVersion
from pipelines.server.images import PhaseFinder, ServedImage, StudyImages
from pipelines.server.label_file import read_sent_label
from pipelines.server.measurements import note_warnings, noted_warnings
from pipelines.server.worker import PARSER

KEPT_CONTOURS: Final = 64
"""Automatic contours that are kept in memory, the latest ones; about 1 MB each."""


class StudiesDatastore:
    """Images and labels of a studies folder; ids are looked up and never made into paths.

    Of MONAI Label's `Datastore` it has what the app and the routes call, and nothing that renames or removes.

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
        self._contours: OrderedDict[str, tuple[str, str, Automatic]] = OrderedDict()
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

    def label_number(self, path: Path) -> int:
        """Number of the newest label version of the image in a file, 0 if there is none."""
        served = self.image_at(path)
        return self.labels.number(served.id) if served else 0

    def remember(self, image_id: str, caller: str, contour: Automatic) -> str:
        """Keep an automatic contour until its caller accepts or corrects it.

        Returns:
            A name for it, by which the caller can say what a label began with.
        """
        name = uuid.uuid4().hex
        with self._lock:
            self._contours[name] = (image_id, caller, contour)
            while len(self._contours) > KEPT_CONTOURS:
                self._contours.popitem(last=False)
        return name

    def remembered(self, image_id: str, caller: str, name: str | None = None) -> Automatic | None:
        """The automatic contour of a name, or the latest one, that a caller got of an image, else None."""
        with self._lock:
            kept = list(self._contours.items())
        found = [
            contour
            for known, (image, owner, contour) in kept
            if (image, owner) == (image_id, caller) and name in (None, known)
        ]
        return found[-1] if found else None

    def volumes_ml(self, image_id: str, caller: str) -> Mapping[AcdcLabel, float] | None:
        """Volumes in mL by the accepted label, else the caller's latest automatic contour, else None."""
        label = self.labels.read(image_id)
        if label is not None:
            return structure_volumes_ml(label.array, label.spacing_mm)
        contour = self.remembered(image_id, caller)
        if contour is None:
            return None
        return structure_volumes_ml(contour.mask, read_volume(self.image(image_id).path).spacing_mm)

    def accept(self, image_id: str, file: Path, label_tag: str, sent: Mapping[str, Any]) -> LabelVersion:
        """Check a label map and keep it as the accepted one.

        Args:
            image_id: Id of the image.
            file: Existing file that a client sent.
            label_tag: `"final"`, or empty for it.
            sent: `user`, and what the client sent: `label_info`, its list of segments; `base_version`, the
                newest version that it has seen; `contour`, the name of the automatic contour that the
                label began with; `confirmed`, whether a label that cannot be a heart is meant.

        Raises:
            StaleError: If another version than `base_version` is the newest.
            UnconfirmedError: If the label cannot be a heart and `confirmed` is false.
            DataError: If the image is unknown, or the file is no label map of it.
            OutputError: If it cannot be written.
        """
        if label_tag not in ("", FINAL):
            raise DataError(f"expected the tag {FINAL!r} for a label that is sent, found another")
        path = self.image(image_id).path
        image = read_volume(path)
        segments = sent.get("label_info") or []
        if not isinstance(segments, list) or not all(isinstance(one, dict) for one in segments):
            raise DataError("expected label_info to be a list of segments with their names")
        mask = read_sent_label(file, image, segments)
        author, base = str(sent.get("user") or "unknown"), sent.get("base_version")
        contour, confirmed = sent.get("contour"), sent.get("confirmed")
        if not isinstance(contour, str | None) or not isinstance(confirmed, bool | None):
            raise DataError("expected contour to be a name and confirmed to be true or false, found another")
        # Who knows versions names the contour too; without a name the label began with the version before.
        inherits = base is not None and contour is None
        record = self.labels.accept(
            image_id,
            mask,
            image,
            author=author,
            automatic=None if inherits else self.remembered(image_id, author, contour),
            base=base,
            inherits=inherits,
            confirmed=confirmed,
        )
        self.drafts.accept(path, author, mask, base=record.number)
        return record

    def add_image(self, image_id: str, file: Path) -> str:
        """Copy a volume that a client sent into the studies folder.

        Args:
            image_id: New name; checked by the caller to be safe as a file name.
            file: Existing NIfTI file.

        Raises:
            DataError: If it is no 3-D volume or the name is taken.
            OutputError: If it cannot be written.
        """
        shape = claimed_shape(file)
        path = self.root / f"{image_id}{'.nii.gz' if file.suffix == '.gz' else '.nii'}"
        if self.images.get(image_id) or path.exists() or len(shape) != 3:
            raise DataError("expected a new name and a 3-D volume, found a name that is taken or a cine")
        PARSER.call(check_volume, file)
        with atomic_path(path) as temporary:
            shutil.copyfile(file, temporary)
        note_warnings(path, noted_warnings(file))
        self.images.scan(unfold=False)
        return image_id

    def get_image_uri(self, image_id: str) -> str:
        """Path of an image, `""` if there is none."""
        found = self.images.get(image_id)
        return str(found.path) if found else ""

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

    def get_label_info(self, label_id: str, label_tag: str) -> dict[str, Any]:
        """The newest record of a label's history, `{}` if there is none."""
        if not self.get_label_uri(label_id, label_tag):
            return {}
        newest = self.labels.newest(label_id)
        return {"history": newest} if newest else {}

    def list_images(self) -> list[str]:
        """Ids of all images."""
        return [image.id for image in self.images.all()]

    def get_labeled_images(self) -> list[str]:
        """Ids of images with an accepted label."""
        return [name for name in self.list_images() if self.labels.has(name)]

    def get_unlabeled_images(self) -> list[str]:
        """Ids of images without an accepted label."""
        return [name for name in self.list_images() if not self.labels.has(name)]

    def status(self) -> dict[str, Any]:
        """Counts, what cannot be read and why, and files passed over: label maps and what is no image."""
        tags = {tag: sum(self.labels.has(name, tag) for name in self.list_images()) for tag in TAGS}
        return {
            "total": len(self.list_images()),
            "completed": tags[FINAL],
            "label_tags": tags,
            "problems": len(self.images.problems),
            "not_read": [
                f"{one.path.relative_to(self.root)}: {one.reason.replace(f'{self.root}/', '')}"
                for one in self.images.problems
            ],
            "passed_over": [str(one.path.relative_to(self.root)) for one in self.images.passed_over],
        }

    def json(self) -> dict[str, Any]:
        """Every image with what is known of it and its labels, without paths."""
        return {
            "objects": {
                name: {
                    "image": {"info": self.get_image_info(name)},
                    "labels": {
                        tag: {"info": self.get_label_info(name, tag)}
                        for tag in TAGS
                        if self.get_label_uri(name, tag)
                    },
                }
                for name in self.list_images()
            }
        }

    def refresh(self) -> None:
        """Look at the folder again, and unfold what is new in it."""
        self.images.refresh()
