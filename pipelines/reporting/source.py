"""Folders that commands wrote, each known by a file in it, and what is recorded of them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

from pipelines.core.errors import DataError, expecting
from pipelines.core.files import MANIFEST_NAME, read_json
from pipelines.reporting.document import Document, Language
from pipelines.training.run_record import RunRecord, read_run, shown_command

Made = TypeVar("Made")


@dataclass(frozen=True, slots=True)
class Source:
    """A folder that a command wrote.

    Attributes:
        folder: The folder.
        kind: Name of its kind, a key of the language's files.
        content: JSON in the file that its kind is known by, empty if that file is none.
        manifest: Its `manifest.json`, empty if it holds none.
        figures_only: Its pictures that show patients are left out.
        label: Name given for the report, the same for all folders of a group.
    """

    folder: Path
    kind: str
    content: dict[str, Any]
    manifest: dict[str, Any]
    figures_only: bool = False
    label: str = ""

    @property
    def name(self) -> str:
        """Name in the report: the one given, else that of the folder when the command wrote it."""
        return self.label or str(self.manifest.get("name") or self.folder.resolve().name)

    @property
    def command(self) -> str | None:
        """The command that wrote it, with placeholders for the paths."""
        return shown_command(self.manifest["command"]) if "command" in self.manifest else None

    @property
    def networks(self) -> list[str]:
        """Networks of which its manifest or its content tells, in their order."""
        found = self.manifest.get("networks") or [self.manifest.get("network")]
        return [str(name) for name in found if name] or [*filter(None, [self.content.get("network")])]

    @property
    def run(self) -> RunRecord:
        """Record of the training run in it, under its name in the report."""
        return replace(read_run(self.folder), name=self.name)

    def pictures(self, folder: str) -> list[Path]:
        """PNGs of patients in a sub-folder, in name order; none of them with `figures_only`."""
        return [] if self.figures_only else sorted((self.folder / folder).glob("*.png"))


@dataclass(frozen=True, slots=True)
class Context:
    """What a document is made with besides the folders of its kind.

    Attributes:
        words: Language.
        pictures: Existing folder that takes pictures, the document's own.
        sources: Every folder of the report.
        index: Which of the folders of its kind is looked at, by `each`.
    """

    words: Language
    pictures: Path
    sources: Sequence[Source] = ()
    index: int = 0

    def of(self, kind: str) -> list[Source]:
        """Folders of a kind."""
        return [source for source in self.sources if source.kind == kind]

    def picture(self, name: str) -> Path:
        """Where a PNG of a folder of its kind goes."""
        return self.pictures / f"{name}{self.index or ''}.png"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of result.

    Attributes:
        name: Key of the language's files.
        marker: File that it is known by.
        command: Command that writes it.
        chapter: Chapter of a report that takes it.
        document: Makes one document of all folders of the kind.
        has: Tells by the content of the marker whether it is of this kind.
        is_usual: A report on hearts names it where it is missing.
    """

    name: str
    marker: str
    command: str
    chapter: str
    document: Callable[[Sequence[Source], Context], Document]
    has: Callable[[Mapping[str, Any]], bool] = field(default=lambda _: True)
    is_usual: bool = False


def each(
    title: str, part: Callable[[Source, Context], Document]
) -> Callable[[Sequence[Source], Context], Document]:
    """Make the document of a kind whose folders are looked at one by one.

    Args:
        title: Key of the language's files, or English text; `{name}` in it stands for the folders' names.
        part: Makes lead, sections, limits and suggestions of one folder; its title is not used.
    """

    def document(sources: Sequence[Source], context: Context) -> Document:
        parts = [part(source, replace(context, index=index)) for index, source in enumerate(sources)]
        words, names = context.words, ", ".join(source.name for source in sources)
        return Document(
            words(title, name=names) if title in words.texts else title.format(name=names),
            " ".join(one.lead for one in parts if one.lead),
            [section for one in parts for section in one.sections],
            [*dict.fromkeys(limit for one in parts for limit in one.limits)],
            [suggestion for one in parts for suggestion in one.suggestions],
        )

    return document


def from_content(kind: Kind, own: Sequence[Source], make: Callable[[], Made]) -> Made:
    """What `make` makes of the content of folders of a kind.

    Raises:
        DataError: If a file lacks what this version reads.
    """
    files = ", ".join(str(source.folder / kind.marker) for source in own)
    with expecting(f"{files} of '{kind.command}' of this version", advice="run it again"):
        return make()


def read_sources(
    kinds: Sequence[Kind],
    folders: Sequence[Path],
    figures_only: Sequence[Path] = (),
    labels: Mapping[Path, str] | None = None,
) -> list[Source]:
    """What the folders hold, in the order of the kinds; a folder may be of several kinds.

    Args:
        kinds: Kinds to look for.
        folders: Folders that commands wrote.
        figures_only: Those of them whose pictures of patients are left out.
        labels: Names for folders in the report.

    Raises:
        DataError: If there is none, a folder is of no kind, its file is damaged, or `figures_only` names
            another.
    """
    known = ", ".join(dict.fromkeys(f"{kind.marker} ({kind.command})" for kind in kinds))
    if not folders:
        raise DataError(f"expected folders to report on, found none; give some of: {known}")
    without = {folder.resolve() for folder in figures_only}
    other = without - {folder.resolve() for folder in folders}
    if other:
        raise DataError(
            f"expected --figures-only to name folders of the report, found {min(other)}; give it as a run too"
        )
    contents = {
        (marker, folder): _content(folder / marker)
        for folder in dict.fromkeys(folders)
        for marker in {kind.marker for kind in kinds}
        if (folder / marker).is_file()
    }
    found = [
        Source(
            folder,
            kind.name,
            contents[kind.marker, folder],
            _content(folder / MANIFEST_NAME) if (folder / MANIFEST_NAME).is_file() else {},
            folder.resolve() in without,
            (labels or {}).get(folder, ""),
        )
        for kind in kinds
        for folder in dict.fromkeys(folders)
        if (kind.marker, folder) in contents and kind.has(contents[kind.marker, folder])
    ]
    strange = [str(folder) for folder in folders if folder not in {source.folder for source in found}]
    if strange:
        raise DataError(f"expected folders that hold one of: {known}; found none in {', '.join(strange)}")
    return found


def _content(path: Path) -> dict[str, Any]:
    if path.suffix != ".json":
        return {}
    with expecting(f"JSON in {path}", advice="run its command again"):
        content = read_json(path)
    if not isinstance(content, dict):
        raise DataError(
            f"expected an object in {path}, found {type(content).__name__}; run its command again"
        )
    return content
