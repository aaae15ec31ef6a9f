"""The terms of a dataset: they travel with it, and are shown before anything is taken."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pipelines.core.errors import ConfigError, cause
from pipelines.datasets.readers import find_reader

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
    own = [file] if file is not None else [path for folder in folders for path in _records(folder)]
    if own:
        found["terms"] = "\n\n".join(_read(path) for path in own)
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


def _records(folder: Path) -> list[Path]:
    return [
        path
        for path in sorted(folder.iterdir())
        if path.is_file()
        and path.stem.lower() in LICENCE_STEMS
        and path.suffix.lower() in ("", ".txt", ".md")
    ]


def _read(path: Path) -> str:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"expected terms as text in {path}, found {cause(error)}") from error
    if not text.strip() or len(text) > LONGEST:
        raise ConfigError(f"expected terms of 1 to {LONGEST} characters in {path}, found {len(text)}")
    return text
