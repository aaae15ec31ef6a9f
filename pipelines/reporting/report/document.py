"""The chapters of a report: what every report says, and what the folders add."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import pipelines
from pipelines.reporting.html import Reference, Section
from pipelines.reporting.language import Language
from pipelines.reporting.report.method_part import method_part, networks_of
from pipelines.reporting.report.models_table import find_models, models_table
from pipelines.reporting.report.parts import Part, Source
from pipelines.reporting.report.registry import build_parts, missing_kinds
from pipelines.reporting.report.versions import bundle_changes, changes, differing_versions, versions_table

WORKS: Final = {
    "acdc": ("Bernard et al., IEEE TMI 37(11), 2018", "https://doi.org/10.1109/TMI.2018.2837502"),
    "unet": ("Ronneberger et al., MICCAI 2015", "https://doi.org/10.1007/978-3-319-24574-4_28"),
    "nnunet": ("Isensee et al., Nature Methods 18, 2021", "https://doi.org/10.1038/s41592-020-01008-z"),
    "attention": ("Oktay et al., 2018", "https://arxiv.org/abs/1804.03999"),
    "vnet": ("Milletari et al., 3DV 2016", "https://doi.org/10.1109/3DV.2016.79"),
    "monai": ("Cardoso et al., 2022", "https://arxiv.org/abs/2211.02701"),
    "totalsegmentator": (
        "Wasserthal et al., Radiology: AI 5(5), 2023",
        "https://doi.org/10.1148/ryai.230024",
    ),
    "metrics": ("Maier-Hein et al., Nature Methods 21, 2024", "https://doi.org/10.1038/s41592-023-02151-z"),
    "ranking": (
        "Wiesenfarth et al., Scientific Reports 11, 2021",
        "https://doi.org/10.1038/s41598-021-82017-6",
    ),
}
"""Related work, and where it is; what each is about stands in the language's files."""

GENERAL_LIMITS: Final = ("limits.device", "limits.acdc", "limits.voxels")
UNTOLD: Final = ("versions", "changes")
"""Chapters that slides leave to the report."""


@dataclass(frozen=True, slots=True)
class Document:
    """A report before it is written.

    Attributes:
        title: Title.
        lead: First paragraph.
        chapters: Sections of each chapter in order, by the chapter's key.
    """

    title: str
    lead: str
    chapters: dict[str, list[Section]]

    @property
    def sections(self) -> list[Section]:
        """All sections in order."""
        return [section for sections in self.chapters.values() for section in sections]

    @property
    def told(self) -> list[Section]:
        """Sections that slides tell; of the networks the diagrams, without the tables of their blocks."""
        return [
            replace(section, tables=section.tables[:1]) if key == "method" else section
            for key, sections in self.chapters.items()
            if key not in UNTOLD
            for section in sections
        ]


def make_document(sources: Sequence[Source], words: Language, pictures: Path, *, title: str = "") -> Document:
    """Chapters of a report on some folders.

    Args:
        sources: As from `read_sources`.
        words: Language.
        pictures: Existing folder that takes the pictures that are drawn.
        title: Title; that of the language without it.

    Raises:
        DataError: If a folder is damaged or of another task.
        OutputError: If a picture cannot be written.
    """
    parts = build_parts(sources, words, pictures)
    versions = versions_table(sources, words)
    every = [part for chapter in parts.values() for part in chapter]
    limits = [limit for part in every for limit in part.limits]
    if names := differing_versions(versions):
        limits.append(words("limits.versions", names=", ".join(names)))
    limits += [words(key) for key in GENERAL_LIMITS]
    absent = [
        words("limits.not_given", kind=words(f"kind.{kind.name}"), command=kind.command)
        for kind in missing_kinds(sources)
    ]
    suggestions = list(dict.fromkeys(one for part in every for one in part.suggestions))
    models = find_models(sources, words)
    method = method_part(networks_of(sources), words, pictures)
    chapters = {
        "problem": [Section(words("chapter.problem"), [words("problem.text")], points=_aims(words))],
        "related": [Section(words("chapter.related"), [words("related.text")], references=_works(words))],
        "data": _chapter("data", parts, words),
        "method": [_section(method, level=2)],
        "recipe": _chapter("recipe", parts, words),
        "results": _chapter("results", parts, words),
        "errors": _chapter("errors", parts, words),
        "limits": [Section(words("chapter.limits"), points=[*limits, *absent])],
        "suggestions": [
            Section(
                words("chapter.suggestions"),
                [words("suggestions.lead") if suggestions else words("suggestions.none")],
                points=suggestions,
            )
        ],
        "models": [
            Section(words("chapter.models"), tables=[models_table(models, words)])
            if models
            else Section(words("chapter.models"), [words("models.none")])
        ],
        "versions": [Section(words("chapter.versions"), tables=[versions])],
        "changes": [
            Section(
                words("chapter.changes"),
                [words("changes.lead", version=pipelines.__version__)],
                points=changes(),
                tables=[bundle_changes(words)],
            )
        ],
    }
    folders = ", ".join(dict.fromkeys(source.name for source in sources))
    lead = words("report.lead", version=pipelines.__version__, folders=folders)
    return Document(title or words("report.title"), lead, chapters)


def _aims(words: Language) -> list[str]:
    return [words(f"problem.aim_{number}") for number in (1, 2, 3)]


def _works(words: Language) -> list[Reference]:
    return [
        Reference(words("related.work", about=words(f"related.{key}"), cited=cited), url)
        for key, (cited, url) in WORKS.items()
    ]


def _chapter(key: str, parts: dict[str, list[Part]], words: Language) -> list[Section]:
    """Heading of a chapter, and a section for each of its parts."""
    return list(_sections(key, parts.get(key, []), words))


def _sections(key: str, parts: Sequence[Part], words: Language) -> Iterator[Section]:
    intro = words(f"{key}.intro") if parts else words(f"{key}.absent")
    yield Section(words(f"chapter.{key}"), [intro])
    for part in parts:
        yield _section(part, level=3)


def _section(part: Part, *, level: int) -> Section:
    return Section(
        title=part.title,
        paragraphs=part.paragraphs,
        tables=part.tables,
        pictures=part.pictures,
        listing=part.listing,
        points=part.points,
        level=2 if level == 2 else 3,
    )
