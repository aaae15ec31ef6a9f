"""Pushing files to a place and pulling them from it: all or nothing, and checked against their checksums."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.files import only_one, output_folder
from pipelines.core.progress import Progress
from pipelines.store.checksums import Checksums, Difference, difference, sum_of
from pipelines.store.places import Place
from pipelines.store.tensors import unsafe_files, unsafe_names


def push_files(
    place: Place,
    name: str,
    files: Mapping[str, Path],
    sums: Checksums,
    *,
    replace: bool = False,
    progress: Progress | None = None,
) -> None:
    """Keep files under a name; nothing is done where the same is kept already.

    Args:
        place: Where.
        name: Under which name.
        files: Existing files by their names there.
        sums: Their checksums.
        replace: Take the place of something else of this name.
        progress: Told of each file.

    Raises:
        ConfigError: If something else of this name is kept, and `replace` is off.
        DataError: If the place cannot be read.
        OutputError: If it cannot be written to.
    """
    kept = place.checksums(name)
    if kept is not None and kept.fingerprint == sums.fingerprint:
        return
    if kept is not None and not replace:
        raise ConfigError(
            f"expected nothing else at {place.describe(name)}, found {kept.fingerprint[:12]}, and not "
            f"{sums.fingerprint[:12]}; choose another --name, or --replace it"
        )
    place.put(name, files, sums, progress)


def kept_checksums(place: Place, name: str) -> Checksums:
    """What is kept under a name.

    Raises:
        DataError: If there is nothing, only a part of it, or something that could run code when it is loaded.
    """
    sums = place.checksums(name)
    if sums is None:
        raise DataError(
            f"expected something whole at {place.describe(name)}, found no checksums: nothing was pushed "
            "under this name, or the push did not end; push it (again)"
        )
    _refuse_programs(unsafe_names(sums.files), place.describe(name))
    return sums


@contextmanager
def pulled(
    place: Place, name: str, sums: Checksums, folder: Path, *, progress: Progress | None = None
) -> Iterator[Path]:
    """All files of a name, checked, in a temporary folder that takes its final name when the block ends well.

    What was fetched before an interruption is taken over if its checksum is right.

    Args:
        place: Where it is kept.
        name: Under which name.
        sums: As of `kept_checksums`.
        folder: Final name, which must be free.
        progress: Told of each file.

    Raises:
        ConfigError: If something is there under the final name, or another pull to it is running.
        DataError: If a file is missing, damaged or additional, cannot be read, or could run code when it is
            loaded; the message names it.
        OutputError: If `folder` cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ConfigError(f"expected no {folder} yet, found one; move it away or choose another --output")
    partial = output_folder(folder.parent) / f".part-{folder.name}"
    lock = folder.parent / f".part-{folder.name}.lock"
    with only_one(lock, f"pull to {folder}"):
        found = place.names_of_files(name)
        refuse(
            Difference(
                missing=tuple(sorted(sums.files.keys() - found)),
                additional=tuple(sorted(found - sums.files.keys())),
            ),
            place.describe(name),
        )
        try:
            _fetch_all(place, name, sums, partial, progress)
            _refuse_programs(
                unsafe_files({file: partial / file for file in sums.files}), place.describe(name)
            )
            yield partial
            if folder.exists():
                folder.rmdir()
            partial.replace(folder)
        except OSError as error:
            raise OutputError(
                f"cannot write {folder}: {error.strerror or error}; free some space or choose another folder"
            ) from error
        finally:
            lock.unlink(missing_ok=True)


def refuse(found: Difference, where: str) -> None:
    """End where files differ from their checksums.

    Raises:
        DataError: If they do; the message names them.
    """
    if found:
        lines = found.lines()
        more = f" and {len(lines) - 20} more" if len(lines) > 20 else ""
        raise DataError(
            f"expected the files that were pushed, found others in {where}: {'; '.join(lines[:20])}{more}"
        )


def _fetch_all(place: Place, name: str, sums: Checksums, partial: Path, progress: Progress | None) -> None:
    partial.mkdir(exist_ok=True)
    for path in sorted(partial.rglob("*"), reverse=True):
        if path.is_file() and path.relative_to(partial).as_posix() not in sums.files:
            path.unlink()
    for index, (file, expected) in enumerate(sums.files.items()):
        if progress:
            progress(index, len(sums.files), file)
        path = partial / file
        if path.is_file() and not difference({file: expected}, {file: sum_of(path)}):
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        fetched = path.with_name(f".part-{path.name}")
        place.fetch(name, file, fetched)
        refuse(difference({file: expected}, {file: sum_of(fetched)}), place.describe(name))
        fetched.replace(path)


def _refuse_programs(names: list[str], where: str) -> None:
    if names:
        raise DataError(
            f"expected files that run no code when they are loaded, found {', '.join(names[:5])} in {where}; "
            "weights are kept as safetensors: push them with 'thorax push'"
        )
