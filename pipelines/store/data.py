"""Datasets in a store, for those who may keep them: terms first, checked, resumable."""

import hashlib
import tempfile
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.core.files import write_text
from pipelines.core.progress import Progress
from pipelines.datasets.prepare import DATALIST_NAME
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
from pipelines.store.datalists import (
    IMAGES_FOLDER,
    dataset_root,
    listed_files,
    settle_datalist,
    travelling_datalist,
)
from pipelines.store.licences import Accept, find_licence, require_accepted
from pipelines.store.places import check_name, open_place
from pipelines.store.tensors import unsafe_files
from pipelines.store.transfer import kept_checksums, pulled, push_files


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
    progress: Progress | None = None,
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
        progress: Told of each file.

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
        push_files(place, name, files, sums, replace=replace, progress=progress)
    return KeptData(place.describe(name), sums.fingerprint, len(files))


def pull_data(
    store: str, name: str, output: Path, *, accept: Accept, progress: Progress | None = None
) -> KeptData:
    """Fetch a dataset from a store, checked file by file; an interrupted pull goes on when it is repeated.

    Args:
        store: As for `open_place`.
        name: Name that it is kept under.
        output: Folder that takes the dataset's folder, `name`.
        accept: Shows the terms, before anything is fetched, and says whether they were accepted.
        progress: Told of each file.

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
    with pulled(place, name, sums, folder, progress=progress) as partial:
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
        raise DataError(f"expected {CHECKSUMS_NAME} in {folder}, found none; 'thorax data pull' writes it")
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
