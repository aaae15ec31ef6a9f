"""Segmentation, correction and choice of the next case as MONAI Label's tasks, and what they answer."""

import random
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from monailabel.interfaces.tasks.infer_v2 import InferTask, InferType
from monailabel.interfaces.tasks.strategy import Strategy

from pipelines.core.errors import DataError, OutputError
from pipelines.core.records import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.volume import Volume, read_volume, write_label
from pipelines.interaction.clicks import Click, Mask, refine_by_scribbles
from pipelines.models.bundle import CORRECTOR
from pipelines.server.datastore import StudiesDatastore
from pipelines.server.drafts import Draft
from pipelines.server.history import Automatic
from pipelines.server.label_file import labels_beside, read_sent_label, read_sent_scribbles
from pipelines.server.measurements import measure
from pipelines.server.nrrd import write_nrrd
from pipelines.server.predictors import OpenVolume, Predictors
from pipelines.server.sent_interaction import Interaction, SentClick
from pipelines.server.worker import PARSER

LABELS: Final = {LABEL_NAMES[label]: int(label) for label in FOREGROUND}
"""Names and voxel values that clients are told: rv 1, myo 2, lv 3."""

RESULT_SUFFIXES: Final = (".nrrd", ".nii.gz", ".nii")
"""Formats in which a client may ask for a label map."""


class Stopwatch:
    """Seconds of each step of an answer."""

    def __init__(self) -> None:
        self._start = self._mark = time.perf_counter()
        self.seconds: dict[str, float] = {}

    def end(self, step: str) -> None:
        """Note the time since the step before ended as that of this one."""
        now = time.perf_counter()
        self.seconds[step] = now - self._mark
        self._mark = now

    def add(self, seconds: Mapping[str, float]) -> None:
        """Note steps since the last one that were timed by who took them."""
        self.seconds |= seconds
        self._mark = time.perf_counter()

    def rounded(self) -> dict[str, float]:
        """Seconds by step and in `total`, to a tenth of a millisecond."""
        total = time.perf_counter() - self._start
        return {step: round(value, 4) for step, value in (self.seconds | {"total": total}).items()}


def answer(
    request: Mapping[str, Any],
    image: Volume,
    contour: Automatic,
    datastore: StudiesDatastore,
    stopwatch: Stopwatch,
    *,
    shown: Mask | None = None,
    names: Mapping[str, int] = LABELS,
) -> tuple[str, dict[str, Any]]:
    """Remember a contour, measure it and write it.

    Args:
        request: `image`, the path of an existing file, `caller`, the user's name, and `result_extension`.
        image: What is in that file.
        contour: Label map of all structures and where it comes from.
        datastore: Images and their other phases.
        stopwatch: Seconds of the steps so far.
        shown: `(X, Y, Z)` label map to write, where it is not the whole contour.
        names: Names and values of what is written.

    Returns:
        A file in the format that is wanted, which the caller removes, and `label_names`, `model`,
        `version`, `latencies` in seconds, and what `measure` tells; of an image of the studies folder also
        `label_version`, the number of its newest label, and `contour`, a name for what was found.

    Raises:
        DataError: If another format is wanted than `RESULT_SUFFIXES`.
    """
    suffix: str = request.get("result_extension") or RESULT_SUFFIXES[0]
    if suffix not in RESULT_SUFFIXES:
        raise DataError(f"expected a result as {', '.join(RESULT_SUFFIXES)}, found another format")
    served, caller = datastore.image_at(Path(request["image"])), request.get("caller", "")
    known: dict[str, Any] = {}
    if served is not None:
        known["contour"] = datastore.remember(served.id, caller, contour)
        known["label_version"] = datastore.labels.number(served.id)
    partner_ml = datastore.volumes_ml(served.partner, caller) if served and served.partner else None
    taken = measure(contour.mask, image, served.phase if served else None, partner_ml)
    stopwatch.end("measure")
    written = contour.mask if shown is None else shown
    with tempfile.NamedTemporaryFile(suffix=suffix, delete=False) as stream:
        result = Path(stream.name)
    try:
        (write_nrrd if suffix == ".nrrd" else write_label)(result, written, image.affine)
    except OutputError:
        result.unlink()  # a full disk is not to be filled with what could not be written
        raise
    stopwatch.end("write")
    return str(result), {
        "label_names": dict(names),
        "model": contour.model,
        "version": contour.version,
        **known,
        **taken,
        "latencies": stopwatch.rounded(),
    }


class AutomaticSegmentation(InferTask):
    """Segments a volume with one network or the mean of all.

    Args:
        name: A name that `predictors` knows.
        predictors: Networks.
        datastore: Images and their other phases.
    """

    def __init__(self, name: str, predictors: Predictors, datastore: StudiesDatastore) -> None:
        super().__init__(
            type=InferType.SEGMENTATION,
            labels=dict(LABELS),
            dimension=3,
            description=f"RV, myocardium and LV of a short-axis stack: {name}",
        )
        self.name = name
        self._predictors = predictors
        self._datastore = datastore

    def is_valid(self) -> bool:
        """Whether the weights are there."""
        return self._predictors.has_weights(self.name)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Label map of `request["image"]`, an existing NIfTI file, and what was measured.

        Returns:
            What `answer` gives.

        Raises:
            DataError: If the image is not one 3-D volume, or another format is asked for.
            ConfigError: If weights are missing or do not fit.
        """
        stopwatch = Stopwatch()
        path = Path(request["image"])
        image = read_volume(path)
        stopwatch.end("read")
        prediction = self._predictors.predict(self.name, image)
        stopwatch.add(prediction.seconds)
        base = self._datastore.label_number(path)
        self._datastore.drafts.begin(path, request.get("caller", ""), prediction.mask, base=base)
        contour = Automatic(prediction.mask, self.name, self._predictors.version_of(self.name))
        return answer(request, image, contour, self._datastore, stopwatch)


class FirstUnlabelled(Strategy):
    """The first volume without an accepted label, patient by patient, ED before ES."""

    def __init__(self) -> None:
        super().__init__("First volume without a label")

    def __call__(self, request: Mapping[str, Any], datastore: StudiesDatastore) -> dict[str, Any] | None:
        """`{"id": ...}`, or None if every volume has a label."""
        names = half_done(datastore) or datastore.get_unlabeled_images()
        return {"id": names[0]} if names else None


class RandomPatient(Strategy):
    """A random patient, after the other phase of every patient that was begun."""

    def __init__(self) -> None:
        super().__init__("Random patient, both phases one after the other")

    def __call__(self, request: Mapping[str, Any], datastore: StudiesDatastore) -> dict[str, Any] | None:
        """`{"id": ...}`, or None if every volume has a label."""
        begun = half_done(datastore)
        open_ids = begun or datastore.get_unlabeled_images()
        if not open_ids:
            return None
        chosen = datastore.image(open_ids[0] if begun else random.choice(open_ids))
        pair = [name for name in open_ids if name in (chosen.id, chosen.partner)]
        return {"id": pair[0]}


def half_done(datastore: StudiesDatastore) -> list[str]:
    """Volumes without a label whose other phase has one."""
    return [
        name
        for name in datastore.get_unlabeled_images()
        if (partner := datastore.image(name).partner) and datastore.labels.has(partner)
    ]


CORRECTIONS: Final[dict[str, dict[str, Any]]] = {
    "correct_volume": {
        "type": InferType.DEEPEDIT,
        "labels": {**LABELS, LABEL_NAMES[AcdcLabel.BACKGROUND]: int(AcdcLabel.BACKGROUND)},
        "dimension": 3,
        "description": "Corrects the contours around clicks, in the slice and those beside it",
    },
    "correct_slice": {
        "type": InferType.DEEPGROW,
        "labels": dict(LABELS),
        "dimension": 2,
        "description": "Corrects one structure around clicks in their slice only, for base and apex",
    },
}
"""Models that act on clicks: on what is there, or on where one structure is and where it is not."""


class CorrectByClicks(InferTask):
    """Corrects all structures of a volume, or one structure in one slice, by clicks.

    Args:
        name: One of `CORRECTIONS`.
        predictors: Networks.
        datastore: Images, accepted labels and drafts.
    """

    def __init__(self, name: str, predictors: Predictors, datastore: StudiesDatastore) -> None:
        super().__init__(**CORRECTIONS[name])
        self.name = name
        self._predictors = predictors
        self._datastore = datastore

    def is_valid(self) -> bool:
        """Whether the weights are there."""
        return self._predictors.has_weights(CORRECTOR)

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """Label map of `request["image"]`, an existing NIfTI file, after the clicks.

        The contour that is corrected is the one that the caller last got or saved, if it began with
        `base_version`; else the accepted label, else that of the default network. It is the client's own
        where that sends one.

        Args:
            request: `image`; `interaction`, an `Interaction` with the clicks, of `correct_slice` with a label
                and a slice too; optionally `caller`, the user's name, `mask`, the path of a label map that
                the client has now, and `base_version`, the number of the newest label version, as the client
                has seen it; None if it knows none.

        Returns:
            What `answer` gives; measures are those of the whole contour. The label map of `correct_slice` is
            1 where the structure is in the slice and 0 elsewhere: clients put it in the place of the
            structure there, and leave all else; those that ask for the whole contour get it.

        Raises:
            DataError: If the image is not one 3-D volume, the mask is no label map of it, a click lies
                outside of it, or another format is asked for.
            ConfigError: If weights are missing or do not fit.
        """
        stopwatch = Stopwatch()
        path, caller = Path(request["image"]), request.get("caller", "")
        interaction: Interaction = request["interaction"]
        image = read_volume(path)
        _check_within(interaction, image)
        sent = read_sent_label(Path(request["mask"]), image) if request.get("mask") else None
        stopwatch.end("read")
        drafts, known = self._datastore.drafts, self._datastore.drafts.get(path, caller)
        base, newest = request.get("base_version"), self._datastore.label_number(path)
        draft = known
        if draft is None or (sent is None and base not in (None, draft.base)):
            draft = Draft(self._beginning(path, image) if sent is None else sent, base=newest)
        # Whoever sends a mask has seen the version that the request names.
        draft = draft if sent is None or base is None else replace(draft, base=base)
        stopwatch.end("start")
        correction = (known and known.correction) or self._predictors.open(image)
        stopwatch.end("open")
        draft, clicks = replace(draft, correction=correction).asked(interaction, sent)
        for click in clicks:
            with self._predictors.loading:
                draft = draft.after(click, _after_click(draft, click, correction, image))
        drafts.put(path, caller, draft)
        stopwatch.end("correct")
        contour = Automatic(draft.mask, self.name, self._predictors.version)
        part: dict[str, Any] = {}
        if interaction.label is not None and not interaction.whole:
            part["shown"] = _in_slice(draft.mask, interaction, interaction.label, correction.axis)
            part["names"] = {LABEL_NAMES[interaction.label]: 1}
        file, taken = answer(request, image, contour, self._datastore, stopwatch, **part)
        if draft.base < newest:
            taken["warnings"].append(
                f"version {newest} of the label was saved after these contours began, and they leave it out"
            )
        return file, taken

    def _beginning(self, path: Path, image: Volume) -> Mask:
        """The contour to correct for a caller who was given none."""
        served = self._datastore.image_at(path)
        if served is not None and self._datastore.labels.has(served.id):
            return read_sent_label(self._datastore.labels.path(served.id), image)
        return self._predictors.predict(self._predictors.networks[0], image).mask


class RefineByScribbles(InferTask):
    """Divides what lies between strokes where the MRI has edges.

    Args:
        datastore: Images and drafts.
        version: Version of the bundle.
    """

    name = "scribbles"

    def __init__(self, datastore: StudiesDatastore, version: str) -> None:
        super().__init__(
            type=InferType.SCRIBBLES,
            labels=dict(LABELS),
            dimension=3,
            description="Refines one structure between strokes where the image has edges",
        )
        self._datastore = datastore
        self._version = version

    def is_valid(self) -> bool:
        """Always: there is no network."""
        return True

    def __call__(self, request: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The structure, as 1 in a label map that is 0 elsewhere, after the strokes.

        Args:
            request: `image`; `interaction`, an `Interaction` with a label; `mask`, the path of a label
                map with the strokes on it; optionally `caller`, the user's name.

        Returns:
            What `answer` gives; measures are those of the whole contour.

        Raises:
            DataError: If the image is not one 3-D volume, the file is missing or is no label map of it
                with strokes, or another format is asked for.
        """
        stopwatch = Stopwatch()
        path, caller = Path(request["image"]), request.get("caller", "")
        interaction: Interaction = request["interaction"]
        label = interaction.label
        if not request.get("mask") or label is None:
            raise DataError("expected a label map with scribbles as the file 'label', found none")
        image = read_volume(path)
        sent = read_sent_scribbles(Path(request["mask"]), image, label, interaction.segments)
        stopwatch.end("read")
        # What strokes take depends on what a client drew: in the process that has a limit.
        refined = PARSER.call(refine_by_scribbles, image, sent.mask, sent.strokes)
        # Strokes are about one structure: what changes from one of the others to another stays.
        concerned = (refined == label) | (sent.mask == label)
        if interaction.region is not None:
            concerned &= _within(interaction.region, image)
        mask = np.where(concerned, refined, sent.mask).astype(np.uint8)
        drafts = self._datastore.drafts
        draft = drafts.get(path, caller) or Draft(mask, base=self._datastore.label_number(path))
        base = request.get("base_version")
        drafts.put(path, caller, replace(draft.drawn(mask), base=draft.base if base is None else base))
        stopwatch.end("scribbles")
        return answer(
            request,
            image,
            Automatic(mask, self.name, self._version),
            self._datastore,
            stopwatch,
            shown=(mask == label).astype(np.uint8),
            names={LABEL_NAMES[label]: 1},
        )


def _after_click(draft: Draft, click: SentClick, correction: OpenVolume, image: Volume) -> Mask:
    # What a person drew over since, or a later click said otherwise, holds no more.
    settled = [
        Click(*known.index, AcdcLabel(int(draft.mask[known.index])))
        for known in draft.clicks
        if (draft.mask[known.index] == known.label) == known.is_there
    ]
    label = click.label
    if not click.is_there:
        here = np.zeros(draft.mask.shape, dtype=bool)
        here[click.index] = True
        label = AcdcLabel(int(labels_beside(draft.mask, here, image.spacing_mm, label=click.label)[0]))
    return correction.correct(
        draft.mask, [Click(*click.index, label)], settled=settled, one_slice=click.one_slice
    )


def _check_within(interaction: Interaction, image: Volume) -> None:
    shape = image.array.shape
    if len(shape) != 3:
        raise DataError(f"expected one frame (3-D), found {shape}; give the frames one by one")
    for click in interaction.clicks:
        if any(not 0 <= place < length for place, length in zip(click.index, shape, strict=True)):
            raise DataError(
                f"expected clicks within the {shape} voxels of the volume, found {list(click.index)} for "
                f"{LABEL_NAMES[click.label]}; indices count from 0, remove the click"
            )
    if interaction.plane is not None and not 0 <= interaction.plane < shape[2]:
        raise DataError(f"expected slice from 0 to {shape[2] - 1}, found {interaction.plane}")


def _in_slice(mask: Mask, interaction: Interaction, label: AcdcLabel, axis: int) -> Mask:
    """1 where the structure is in the slice that is looked at and in those of the clicks.

    A client that keeps all else must not get more: it would add what was erased there by hand. The two
    are the same unless the slices of the file run along another axis than the third.
    """
    shown = np.zeros_like(mask)
    planes = {2: set() if interaction.plane is None else {interaction.plane}}
    planes.setdefault(axis, set()).update(click.index[axis] for click in interaction.clicks)
    for along, places in planes.items():
        for place in places:
            np.moveaxis(shown, along, 0)[place] = np.moveaxis(mask, along, 0)[place] == label
    return shown


def _within(region: Sequence[tuple[int, int]], image: Volume) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """`(X, Y, Z)`, where the region is."""
    inside = np.zeros(image.array.shape, dtype=bool)
    inside[tuple(slice(max(first, 0), max(last + 1, 0)) for first, last in region)] = True
    return inside
