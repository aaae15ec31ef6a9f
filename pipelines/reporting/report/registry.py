"""The kinds of folders that a report reads: the file each is known by, and what it adds to which chapter."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.reporting.language import Language
from pipelines.reporting.report.comparison_parts import comparison_part, cross_dataset_part, folds_part
from pipelines.reporting.report.data_parts import exploration_part
from pipelines.reporting.report.error_parts import errors_part, worst_part
from pipelines.reporting.report.evaluation_part import evaluation_part
from pipelines.reporting.report.parts import Part, Source
from pipelines.reporting.report.quality_parts import disease_part, fit_part, quality_part
from pipelines.reporting.report.training_parts import recipe_part, training_part

Builder = Callable[[Source, Language, Path], Part | None]
"""Makes a part from a folder, in a language, with a folder for its pictures; None if it adds nothing."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of folder.

    Attributes:
        name: Key of the language's files.
        marker: File that it is known by.
        command: Command that writes it.
        builders: What it adds, by chapter.
    """

    name: str
    marker: str
    command: str
    builders: Mapping[str, Builder]


KINDS: Final = (
    Kind("exploration", "eda.json", "thorax eda", {"data": exploration_part}),
    Kind("recipe", "recipe.json", "thorax recipe", {"recipe": recipe_part}),
    Kind("training", "history.csv", "thorax train", {"recipe": training_part}),
    Kind(
        "evaluation",
        "metrics.json",
        "thorax evaluate",
        {"results": evaluation_part, "errors": worst_part},
    ),
    Kind("folds", "cross_validation.json", "thorax cross-validate", {"results": folds_part}),
    Kind("comparison", "comparison.json", "thorax compare", {"results": comparison_part}),
    Kind("cross", "cross.json", "thorax cross-evaluate", {"results": cross_dataset_part}),
    Kind("errors", "errors.json", "thorax analyse-errors", {"errors": errors_part}),
    Kind("fit", "fit.json", "thorax fit-quality", {"results": fit_part}),
    Kind("quality", "quality_evaluation.json", "thorax evaluate-quality", {"results": quality_part}),
    Kind("disease", "disease.json", "thorax disease", {"results": disease_part}),
)
"""Every kind, in the order in which a report tells of them."""


def read_sources(folders: Sequence[Path], figures_only: Sequence[Path] = ()) -> list[Source]:
    """What the folders hold, in the order of `KINDS`; a folder may be of several kinds.

    Args:
        folders: Folders that commands wrote.
        figures_only: Those of them whose pictures of patients are left out.

    Raises:
        DataError: If there is none, a folder is of no kind, its file is damaged, or `figures_only` names
            another.
    """
    if not folders:
        raise DataError(f"expected folders to report on, found none; give some of: {_kinds()}")
    found = [
        (kind, folder)
        for kind in KINDS
        for folder in dict.fromkeys(folders)
        if (folder / kind.marker).is_file()
    ]
    known = {folder for _, folder in found}
    strange = [str(folder) for folder in folders if folder not in known]
    if strange:
        raise DataError(f"expected folders that hold one of: {_kinds()}; found none in {', '.join(strange)}")
    without = {folder.resolve() for folder in figures_only}
    other = without - {folder.resolve() for folder in folders}
    if other:
        raise DataError(
            f"expected --figures-only to name folders of the report, found {min(other)}; give it as a run too"
        )
    return [_source(kind, folder, figures_only=folder.resolve() in without) for kind, folder in found]


def build_parts(sources: Sequence[Source], words: Language, pictures: Path) -> dict[str, list[Part]]:
    """Parts of each chapter, made by the builders of the sources' kinds.

    Args:
        sources: As from `read_sources`.
        words: Language of the parts.
        pictures: Existing folder that takes pictures; each source gets a folder of its own.

    Raises:
        DataError: If a file lacks what this version reads.
    """
    kinds = {kind.name: kind for kind in KINDS}
    parts: dict[str, list[Part]] = {}
    for index, source in enumerate(sources):
        kind = kinds[source.kind]
        folder = pictures / f"{index:02d}"
        folder.mkdir()
        for chapter, build in kind.builders.items():
            try:
                part = build(source, words, folder)
            except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
                raise DataError(
                    f"expected {source.folder / kind.marker} of '{kind.command}' of this version, "
                    f"found {error!r}; run the command again"
                ) from error
            if part is not None:
                parts.setdefault(chapter, []).append(part)
    return parts


def missing_kinds(sources: Sequence[Source]) -> list[Kind]:
    """Kinds that no source is of."""
    given = {source.kind for source in sources}
    return [kind for kind in KINDS if kind.name not in given]


def _kinds() -> str:
    return ", ".join(f"{kind.marker} ({kind.command})" for kind in KINDS)


def _source(kind: Kind, folder: Path, *, figures_only: bool) -> Source:
    marker = folder / kind.marker
    content = _read(marker) if marker.suffix == ".json" else {}
    manifest = folder / MANIFEST_NAME
    return Source(folder, kind.name, content, _read(manifest) if manifest.is_file() else {}, figures_only)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"expected JSON in {path}, found {error!r}; run its command again") from error
    if not isinstance(content, dict):
        raise DataError(
            f"expected an object in {path}, found {type(content).__name__}; run its command again"
        )
    return content
