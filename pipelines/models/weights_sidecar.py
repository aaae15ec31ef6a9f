"""What lies beside weights: the images they have seen, and a radiograph network's threshold and settings."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError, cause
from pipelines.core.files import write_json, write_text

OPERATING_POINT_NAME: Final = "operating_point.json"
"""The threshold chosen on validation."""

NETWORK_NAME: Final = "network.json"
"""Name of the network, and the settings without which its weights do not fit."""

SEEN_NAME: Final = "seen.json"
"""Hashes of the images that the weights were trained on."""

DEFAULT_THRESHOLD: Final = 0.5


def read_threshold(folder: Path) -> float:
    """Threshold that lies beside weights, 0.5 if there is none.

    Raises:
        ConfigError: If the file is there and holds no threshold.
    """
    path = folder / OPERATING_POINT_NAME
    if not path.is_file():
        return DEFAULT_THRESHOLD
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["threshold"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"expected a threshold in {path}, found {cause(error)}") from error


def write_threshold(folder: Path, threshold: float, **details: Any) -> Path:
    """Write the threshold beside weights, with what it was chosen on; returns the file.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / OPERATING_POINT_NAME
    write_json(path, {"threshold": threshold, **details})
    return path


def read_network(folder: Path, network: str) -> dict[str, Any]:
    """Settings that the weights in a folder were trained with, empty if none lie there.

    Args:
        folder: Folder of the weights.
        network: Network that they are wanted for.

    Raises:
        ConfigError: If the file is damaged, holds more than plain values, or the weights are those of
            another network.
    """
    path = folder / NETWORK_NAME
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        name, settings = str(content["architecture"]), dict(content["settings"])
        check_plain(settings)
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"expected a network and its settings in {path}, found {cause(error)}") from error
    if name != network.removesuffix("_tuned"):
        raise ConfigError(f"expected weights of {network}, found those of {name} in {folder}; give --network")
    return settings


def check_plain(value: Any) -> None:
    """See that settings are numbers, words and lists of them, so that they can be merged into configs.

    MONAI evaluates texts that begin with `$`, looks up `@`, reads files named after `%`, and instantiates
    `_target_`. A file beside weights goes where the weights go, and must not run code.

    Raises:
        ValueError: If there is anything else.
    """
    if isinstance(value, Mapping):
        for key, inner in value.items():
            check_plain(key)
            check_plain(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            check_plain(inner)
    elif isinstance(value, str) and not re.fullmatch(r"[A-Za-z0-9][\w .-]*", value):
        raise ValueError(f"the text {value!r}, which may be a program")


def write_network(folder: Path, architecture: str, settings: Mapping[str, Any]) -> Path:
    """Write what weights in a folder belong to; returns the file.

    Args:
        folder: Folder of the weights.
        architecture: The network without its recipe, e.g. `"resnet18"`.
        settings: Values of the configuration without which the weights do not fit, such as `size_px`.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / NETWORK_NAME
    write_json(path, {"architecture": architecture, "settings": dict(settings)})
    return path


def read_seen(folder: Path) -> frozenset[str] | None:
    """Hashes of the images that the weights in a folder were trained on, None if they are not known.

    Raises:
        ConfigError: If the file is there and holds something else.
    """
    path = folder / SEEN_NAME
    if not path.is_file():
        return None
    try:
        return frozenset(str(digest) for digest in json.loads(path.read_text(encoding="utf-8"))["images"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"expected hashes of training images in {path}, found {cause(error)}") from error


def write_seen(folder: Path, images: Iterable[str]) -> Path:
    """Write the hashes of the images that weights were trained on; returns the file.

    Args:
        folder: Folder of the weights.
        images: As `voxel_hash` or `pixel_hash` give them.

    Raises:
        OutputError: If it cannot be written.
    """
    path = folder / SEEN_NAME
    write_json(path, {"images": sorted(set(images))})
    return path


def seen_note(seen_patients: Sequence[str] | None, *, unseen_only: bool) -> str | None:
    """What a reader of an evaluation must know of the patients that its weights were trained on.

    Args:
        seen_patients: Those among the patients of the evaluation, None if nothing is known.
        unseen_only: Whether they were left out.

    Returns:
        A sentence; None if none of the patients was seen.
    """
    if seen_patients is None:
        return "It is not known which images these weights were trained on: no seen.json lies beside them."
    if not seen_patients:
        return None
    names = ", ".join(seen_patients[:5]) + (" ..." if len(seen_patients) > 5 else "")
    count = f"{len(seen_patients)} patient{'s' if len(seen_patients) > 1 else ''}"
    if unseen_only:
        return f"Left out: {count} that these weights were trained on."
    return (
        f"These weights were trained on {count} of those measured, so the scores are too good: "
        f"{names}. --unseen-only leaves them out."
    )


def copy_beside(source: Path, target: Path) -> None:
    """Copy the files of this module that lie in `source` to `target`.

    Raises:
        OutputError: If one cannot be written.
    """
    for name in (OPERATING_POINT_NAME, NETWORK_NAME, SEEN_NAME):
        path = source / name
        if path.is_file():
            write_text(target / name, path.read_text(encoding="utf-8"))
