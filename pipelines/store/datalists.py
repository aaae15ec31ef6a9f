"""A prepared folder as files that can travel: paths in `datalist.json` follow its images."""

import json
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError, cause
from pipelines.core.files import write_text
from pipelines.datasets.prepare import DATALIST_NAME, VOLUMES_NAME

IMAGES_FOLDER: Final = "data"
"""Where the images of a prepared folder travel, in the layout of the dataset's own folder."""

ROOT_MARK: Final = "{root}"
"""Stands for that folder in a `datalist.json` that travels."""


def dataset_root(prepared: Path) -> Path:
    """Folder of the dataset that a prepared folder was made from.

    Args:
        prepared: Existing folder with a `datalist.json`.

    Raises:
        DataError: If the datalist is damaged.
    """
    return Path(_read(prepared / DATALIST_NAME)["root"])


def listed_files(prepared: Path) -> dict[str, Path]:
    """The images and labels of a prepared folder's datalist, by the names under which they travel.

    Args:
        prepared: Existing folder with a `datalist.json`.

    Raises:
        DataError: If the datalist is damaged, or names a file that is missing or outside of its dataset.
    """
    content = _read(prepared / DATALIST_NAME)
    root = dataset_root(prepared)
    items = [item for key in ("volumes", "images") for item in content.get(key, [])]
    paths = {item[key] for item in items for key in ("image", "label") if isinstance(item.get(key), str)}
    places = {(prepared / VOLUMES_NAME).resolve(): f"{IMAGES_FOLDER}/{VOLUMES_NAME}", root: IMAGES_FOLDER}
    travelling: dict[str, Path] = {}
    for path in map(Path, sorted(paths)):
        folder = next((folder for folder in places if path.is_relative_to(folder)), None)
        if folder is not None:
            travelling[f"{places[folder]}/{path.relative_to(folder).as_posix()}"] = path
    outside = sorted(paths - {str(path) for path in travelling.values()})
    missing = sorted(path for path in paths if not Path(path).is_file())
    if outside or missing or not paths:
        what = f"outside of it {outside[:3]}, missing {missing[:3]}" if paths else "none"
        raise DataError(
            f"expected images below {root} in {prepared / DATALIST_NAME}, found {what}; prepare again"
        )
    return travelling


def travelling_datalist(path: Path) -> str:
    """Text of a `datalist.json` with the mark in place of its dataset's folder.

    Volumes that `thorax prepare` wrote anew travel in a folder of that one.

    Raises:
        DataError: If the file is damaged.
    """
    content = _read(path)
    written = str((path.parent / VOLUMES_NAME).resolve())
    moved = _with(content, written, f"{ROOT_MARK}/{VOLUMES_NAME}")
    return _replaced(moved, str(content["root"]), ROOT_MARK)


def settle_datalist(path: Path, root: Path) -> None:
    """Put the folder of the images into a `datalist.json` that has travelled.

    Args:
        path: Existing file, which is written anew.
        root: Folder of the images, absolute; it need not exist yet.

    Raises:
        DataError: If the file is damaged.
        OutputError: If it cannot be written.
    """
    write_text(path, _replaced(_read(path), ROOT_MARK, str(root)))


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content["root"], str):
            raise TypeError("no folder as its root")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(
            f"expected a datalist in {path}, found {cause(error)}; prepare the dataset again"
        ) from error
    return dict(content)


def _replaced(content: object, old: str, new: str) -> str:
    return json.dumps(_with(content, old, new), indent=2) + "\n"


def _with(content: object, old: str, new: str) -> object:
    if isinstance(content, dict):
        return {key: _with(value, old, new) for key, value in content.items()}
    if isinstance(content, list):
        return [_with(value, old, new) for value in content]
    return content.replace(old, new) if isinstance(content, str) else content
