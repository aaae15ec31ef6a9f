"""Datasets in a store, for those who may keep them: terms first, checked files, paths that travel."""

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError, DataError, ThoraxError, expecting
from pipelines.core.files import read_json, write_text
from pipelines.datasets.prepare import DATALIST_NAME, VOLUMES_NAME
from pipelines.datasets.readers import find_reader
from pipelines.store.checksums import (
    CHECKSUMS_NAME,
    Checksums,
    Difference,
    FileSum,
    difference,
    files_below,
    parse_checksums,
    sum_of,
)
from pipelines.store.places import check_name, open_place
from pipelines.store.transfer import kept_checksums, pulled, push_files, unsafe_files

LICENCE_STEMS: Final = ("license", "licence", "data_license", "data_licence", "copying", "terms")
"""Names, before the suffix and in any case, of a dataset's own record of its terms."""

LONGEST: Final = 100_000
"""Characters of a licence; what is longer is none."""

Accept = Callable[[Mapping[str, str]], bool]
"""Shows the terms, and says whether they were accepted."""


def find_licence(
    folders: Sequence[Path], *, reader: str | None = None, file: Path | None = None
) -> dict[str, str]:
    """The terms of a dataset: of a file that is given, of its own folder, of a reader.

    Args:
        folders: Existing folders in which the dataset may have its own record.
        reader: Dataset that the folder holds, a key of `READERS`.
        file: File with the terms.

    Returns:
        `terms`, and of a reader also `dataset`, `access` and `reference`.

    Raises:
        ConfigError: If there is no reader of this name, the file cannot be read, or no terms are found.
    """
    found = dict[str, str]()
    if reader is not None:
        known = find_reader(reader)
        found = {"dataset": known.title, "access": known.access, "reference": known.reference}
        found["terms"] = known.licence
    beside = (path for folder in folders for path in sorted(folder.iterdir()) if path.is_file())
    own = [file] if file is not None else [path for path in beside if _is_record(path)]
    if own:
        found["terms"] = "\n\n".join(_terms_text(path) for path in own)
    if not found:
        raise ConfigError(
            f"expected the terms of the data, found none in {folders[0]}; give the dataset's name as "
            "--reader, a file as --licence, or put a LICENSE.txt into the folder"
        )
    return found


def require_accepted(licence: Mapping[str, str], accept: Accept) -> None:
    """Show the terms, and end unless they are accepted.

    Raises:
        ConfigError: If they are not.
    """
    if not accept(licence):
        raise ConfigError(
            "expected the terms above to be accepted, found no answer that does; read them, and if you may "
            "keep the data under them, add --accept-licence"
        )


def _is_record(path: Path) -> bool:
    return path.stem.lower() in LICENCE_STEMS and path.suffix.lower() in ("", ".txt", ".md")


def _terms_text(path: Path) -> str:
    with expecting(f"terms as text in {path}", ConfigError):
        text = path.read_text(encoding="utf-8")
    if not text.strip() or len(text) > LONGEST:
        raise ConfigError(f"expected terms of 1 to {LONGEST} characters in {path}, found {len(text)}")
    return text


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
    with expecting(f"a datalist in {path}", advice="prepare the dataset again"):
        content = read_json(path)
        if not isinstance(content["root"], str):
            raise TypeError("no folder as its root")
    return dict(content)


def _replaced(content: object, old: str, new: str) -> str:
    return json.dumps(_with(content, old, new), indent=2) + "\n"


def _with(content: object, old: str, new: str) -> object:
    if isinstance(content, dict):
        return {key: _with(value, old, new) for key, value in content.items()}
    if isinstance(content, list):
        return [_with(value, old, new) for value in content]
    return content.replace(old, new) if isinstance(content, str) else content


@dataclass(frozen=True, slots=True)
class KeptData:
    """A dataset that was pushed or pulled.

    Attributes:
        place: Where it is now, in words.
        fingerprint: SHA-256 over names and bytes of all files, and the terms.
        files: Number of files.
    """

    place: str
    fingerprint: str
    files: int


def push_data(
    folder: Path,
    store: str,
    *,
    accept: Accept,
    name: str | None = None,
    reader: str | None = None,
    licence: Path | None = None,
    replace: bool = False,
) -> KeptData:
    """Keep a dataset in a store; an interrupted push goes on when it is repeated.

    Of a prepared folder the datalist and the images and labels that it lists are kept, of another folder
    all files.

    Args:
        folder: Existing folder of `thorax prepare`, or of a dataset.
        store: As for `open_place`.
        accept: Shows the terms, and says whether they were accepted.
        name: Name to keep it under, by default the folder's.
        reader: Dataset that the folder holds, whose terms count if the folder has no record of its own.
        licence: File with the terms.
        replace: Take the place of another dataset of this name.

    Raises:
        ConfigError: If no terms are found, or they are not accepted; or as for `push_files`.
        DataError: If the folder cannot be read, or holds files that could run code when they are loaded.
        OutputError: If the store cannot be written to.
    """
    name = check_name(name or folder.resolve().name)
    prepared = (folder / DATALIST_NAME).is_file()
    files = listed_files(folder) if prepared else files_below(folder)
    programs = unsafe_files(files)
    if programs or not files:
        what = f"what could run code: {', '.join(programs[:5])}" if programs else "nothing"
        raise DataError(f"expected images, labels and tables in {folder}, found {what}")
    terms = find_licence([folder, *([dataset_root(folder)] if prepared else [])], reader=reader, file=licence)
    require_accepted(terms, accept)
    place = open_place(store, "data")
    with tempfile.TemporaryDirectory() as temporary:
        if prepared:
            files[DATALIST_NAME] = Path(temporary) / DATALIST_NAME
            write_text(files[DATALIST_NAME], travelling_datalist(folder / DATALIST_NAME))
        sums = Checksums("data", {file: sum_of(path) for file, path in files.items()}, terms)
        push_files(place, name, files, sums, replace=replace)
    return KeptData(place.describe(name), sums.fingerprint, len(files))


def is_data(store: str, name: str) -> bool:
    """Whether a dataset is kept under a name, and not a bundle."""
    try:
        kept_checksums(open_place(store, "data"), check_name(name))
    except ThoraxError:  # what is wrong is said when it is pulled
        return False
    return True


def pull_data(store: str, name: str, output: Path, *, accept: Accept) -> KeptData:
    """Fetch a dataset from a store, checked file by file; an interrupted pull goes on when it is repeated.

    Args:
        store: As for `open_place`.
        name: Name that it is kept under.
        output: Folder that takes the dataset's folder, `name`.
        accept: Shows the terms, before anything is fetched, and says whether they were accepted.

    Raises:
        ConfigError: If the name or the store is none, the terms are not accepted, or the folder is
            there already.
        DataError: If a file is missing, damaged, additional, or could run code when it is loaded.
        OutputError: If `output` cannot be written.
    """
    place = open_place(store, "data")
    sums = kept_checksums(place, check_name(name))
    require_accepted(sums.licence, accept)
    folder = output / name
    with pulled(place, name, sums, folder) as partial:
        if DATALIST_NAME in sums.files:
            settle_datalist(partial / DATALIST_NAME, folder.resolve() / IMAGES_FOLDER)
        write_text(partial / CHECKSUMS_NAME, sums.to_json())
    return KeptData(str(folder), sums.fingerprint, len(sums.files))


def verify_data(folder: Path, *, store: str | None = None, name: str | None = None) -> Difference:
    """What in a pulled folder is not as it was pushed.

    Args:
        folder: Existing folder of `pull_data`.
        store: Take the checksums from there, and not from the folder's own `checksums.json`.
        name: Name under which the dataset is kept there, by default the folder's.

    Returns:
        The files that are missing, changed or additional; false if there are none.

    Raises:
        ConfigError: If the store is none.
        DataError: If the checksums are missing or damaged, or a file cannot be read.
    """
    found = {file: _sum_of(path, file) for file, path in files_below(folder).items()}
    if store is not None:
        sums = kept_checksums(open_place(store, "data"), check_name(name or folder.resolve().name))
        return difference(sums.files, found)
    path = folder / CHECKSUMS_NAME
    if not path.is_file():
        raise DataError(f"expected {CHECKSUMS_NAME} in {folder}, found none; 'thorax store pull' writes it")
    return difference(parse_checksums(path.read_text(encoding="utf-8"), str(path), kind="data").files, found)


def _sum_of(path: Path, file: str) -> FileSum:
    """Of a datalist as it travels, of any other file as it is."""
    if file == DATALIST_NAME:
        try:
            content = travelling_datalist(path).encode()
        except DataError:
            return sum_of(path)  # a damaged one is a changed one
        return FileSum(hashlib.sha256(content).hexdigest(), len(content))
    return sum_of(path)
