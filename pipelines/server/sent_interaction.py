"""Clicks, structures and regions as clients name them in the parameters of an inference."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from monailabel.interfaces.tasks.infer_v2 import InferType

from pipelines.core.errors import DataError
from pipelines.core.records import LABEL_NAMES, AcdcLabel
from pipelines.server.label_file import VALUE_OF_NAME

MAX_CLICKS: Final = 200
"""Clicks of one request."""

MAX_SEGMENTS: Final = 32
"""Segments of one request."""

Index = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class SentClick:
    """A voxel of which a client says what it is or is not.

    Attributes:
        index: `(i, j, k)` of the volume as stored, 0-based.
        label: Structure, or background.
        is_there: Whether it is there; if not, something else is.
        one_slice: Whether only the slice of the click may change. Clients repeat a click of one kind as
            one of the other kind, so this does not tell two clicks apart.
    """

    index: Index
    label: AcdcLabel
    is_there: bool = True
    one_slice: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Interaction:
    """What a client asks of an interactive model.

    Attributes:
        clicks: All its clicks so far of this kind, the oldest first within a structure.
        label: The structure that they are about, or None if each tells its own.
        plane: Index on the third axis that they are about, or None.
        region: First and last index on each axis within which scribbles take effect, or None.
        segments: Name and voxel value of each segment of the file that was sent with it.
        settled: Those of the clicks whose effect is in the mask that was sent with it.
        whole: Whether the answer should hold all structures where only one is asked about.
    """

    clicks: tuple[SentClick, ...] = ()
    label: AcdcLabel | None = None
    plane: int | None = None
    region: tuple[tuple[int, int], ...] | None = None
    segments: tuple[tuple[str, int], ...] = ()
    settled: tuple[SentClick, ...] = ()
    whole: bool = False

    def speaks_of(self, click: SentClick) -> bool:
        """Whether a click of an earlier request would be among these if it still held."""
        if self.label is None:
            return not click.one_slice
        in_plane = self.plane is None or click.index[2] == self.plane
        return click.one_slice and click.label is self.label and in_plane


def sent_interaction(kind: str, params: Mapping[str, Any]) -> Interaction:
    """What is taken from the parameters for a model of some type; all others are dropped.

    Args:
        kind: Type of the model: `"deepedit"`, `"deepgrow"`, `"scribbles"` or another.
        params: As a client sent them. `deepedit`: a list of clicks for each label by its name. `deepgrow`:
            `foreground` and `background`, clicks that are in `label` and that are not, and `slice`, the
            index on the third axis that is looked at. Both: `settled`, clicks in the same form whose
            effect is in the mask that is sent. `deepgrow`: `whole`, for an answer with all structures.
            `scribbles`: `selected_label_name`, `label_info` and `roi`.

    Raises:
        DataError: If one is not of its form; where clicks lie is not looked at.

    References:
        `onClickDeepgrow` and `onUpdateScribbles` of MONAI Label's module for 3D Slicer.
    """
    if kind == InferType.DEEPEDIT:
        return Interaction(_in_volume(params), settled=_in_volume(_settled(params)))
    if kind == InferType.DEEPGROW:
        label, plane = _structure(params, "label"), _plane(params)
        return Interaction(
            _in_slice(params, label, plane),
            label,
            plane,
            settled=_in_slice(_settled(params), label, plane),
            whole=params.get("whole") is True,
        )
    if kind == InferType.SCRIBBLES:
        label = _structure(params, "selected_label_name")
        return Interaction(label=label, region=_region(params), segments=_segments(params))
    return Interaction()


def _in_volume(params: Mapping[str, Any]) -> tuple[SentClick, ...]:
    return _limited(
        [SentClick(at, label) for label in AcdcLabel for at in _points(params, LABEL_NAMES[label])]
    )


def _in_slice(params: Mapping[str, Any], label: AcdcLabel, plane: int | None) -> tuple[SentClick, ...]:
    clicks = [SentClick(at, label, one_slice=True) for at in _points(params, "foreground")]
    clicks += [SentClick(at, label, is_there=False, one_slice=True) for at in _points(params, "background")]
    # For slice 0 the module sends the clicks of all slices.
    return tuple(click for click in _limited(clicks) if plane is None or click.index[2] == plane)


def _settled(params: Mapping[str, Any]) -> Mapping[str, Any]:
    found = params.get("settled") or {}
    if not isinstance(found, dict):
        raise DataError("expected settled as an object with clicks by name, found something else")
    return found


def _points(params: Mapping[str, Any], name: str) -> list[Index]:
    found = params.get(name)
    if found is None:
        return []
    if not isinstance(found, list) or len(found) > MAX_CLICKS:
        raise DataError(f"expected {name} to be a list of at most {MAX_CLICKS} clicks, found something else")
    for point in found:
        if not isinstance(point, list) or len(point) != 3 or not all(_is_whole(place) for place in point):
            raise DataError(f"expected each click of {name} as [i, j, k] in whole voxels, found another form")
    return [(i, j, k) for i, j, k in found]


def _limited(clicks: list[SentClick]) -> tuple[SentClick, ...]:
    distinct = tuple(dict.fromkeys(clicks))
    if len(distinct) > MAX_CLICKS:
        raise DataError(f"expected at most {MAX_CLICKS} clicks, found {len(distinct)}; save the label first")
    return distinct


def _structure(params: Mapping[str, Any], name: str) -> AcdcLabel:
    found = params.get(name)
    label = VALUE_OF_NAME.get(found.strip().lower()) if isinstance(found, str) else None
    if label is None:
        raise DataError(f"expected {name} among {', '.join(VALUE_OF_NAME)}, found another; choose one")
    return label


def _plane(params: Mapping[str, Any]) -> int | None:
    found = params.get("slice")
    if found is not None and not _is_whole(found):
        raise DataError("expected slice to be an index on the third axis, found something else")
    return found


def _region(params: Mapping[str, Any]) -> tuple[tuple[int, int], ...] | None:
    found = params.get("roi")
    if not found:
        return None
    if not isinstance(found, list) or len(found) != 6 or not all(_is_whole(place) for place in found):
        raise DataError("expected roi as six voxel indices, first and last on each axis, found another form")
    # The corners are sorted in space, where an axis of the volume may run the other way.
    return tuple((min(pair), max(pair)) for pair in zip(found[::2], found[1::2], strict=True))


def _segments(params: Mapping[str, Any]) -> tuple[tuple[str, int], ...]:
    found = params.get("label_info")
    if not found:
        return ()
    if not isinstance(found, list) or len(found) > MAX_SEGMENTS:
        raise DataError(f"expected label_info to be a list of at most {MAX_SEGMENTS} segments")
    segments = []
    for segment in found:
        name, value = (segment.get("name"), segment.get("id")) if isinstance(segment, dict) else ("", 0)
        if not isinstance(name, str) or not isinstance(value, int) or not 0 < value <= 255:
            raise DataError("expected each segment of label_info with its name and its voxel value as id")
        segments.append((name, value))
    return tuple(segments)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
