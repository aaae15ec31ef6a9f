"""Reports on folders of runs: as a study with chapters, or as a page of results alone."""

import functools
import platform
import re
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

import pipelines
from pipelines.core.errors import ConfigError
from pipelines.core.files import (
    PACKAGES,
    file_sha256,
    output_folder,
    package_versions,
    read_json,
    write_manifest,
)
from pipelines.figures.overlay import texts_by
from pipelines.models.bundle import ACDC_BUNDLE, BUNDLES, NETWORKS
from pipelines.models.weights import BEST_NAME
from pipelines.reporting.document import (
    DEFAULT,
    MISSING,
    Cell,
    Document,
    Format,
    Language,
    Reference,
    Section,
    Table,
    estimate,
    number,
    read_language,
    rewritten,
    without_marks,
)
from pipelines.reporting.html import html_text, require_pdf, write_html, write_pdf
from pipelines.reporting.markdown import fill_card, write_page
from pipelines.reporting.method import method_sections, networks_of
from pipelines.reporting.results import (
    active_learning,
    classification,
    comparison,
    cross_dataset,
    cross_validation,
    disease,
    errors,
    evaluation,
    explanation,
    exploration,
    interaction,
    measures,
    quality,
    recipe,
    scale,
    speed,
    training,
)
from pipelines.reporting.slides import require_slides, write_slides
from pipelines.reporting.source import Context, Kind, Source, from_content, read_sources

KINDS: Final = (
    exploration.KIND,
    exploration.XRAY_KIND,
    recipe.KIND,
    recipe.SEARCH_KIND,
    training.KIND,
    evaluation.KIND,
    classification.KIND,
    cross_validation.KIND,
    comparison.KIND,
    cross_dataset.KIND,
    errors.KIND,
    errors.XRAY_KIND,
    explanation.KIND,
    quality.FIT_KIND,
    quality.KIND,
    disease.KIND,
    interaction.KIND,
    active_learning.KIND,
    speed.KIND,
    speed.INT8_KIND,
    scale.KIND,
    measures.KIND,
)
"""Every kind of result, in the order in which a report has them."""

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

XRAY_KINDS: Final = tuple(
    kind.name for kind in (exploration.XRAY_KIND, classification.KIND, errors.XRAY_KIND, explanation.KIND)
)
"""Kinds by which a report without hearts is one on chest X-rays."""

HEART_LIMITS: Final = ("limits.acdc", "limits.voxels")
CHAPTERS: Final = ("data", "recipe", "results", "errors")
"""Chapters that the folders fill."""

FINGERPRINT_DIGITS: Final = 16
"""Digits of a SHA-256 that a manifest keeps of weights."""

REPORT_PACKAGES: Final = ("matplotlib", "pandas", "scikit-learn", "scipy", "python-pptx", "weasyprint")
"""Packages that take part in the report besides those of every manifest."""

CHANGELOG: Final = BUNDLES.parent / "CHANGELOG.md"


def write_report(
    folders: Sequence[Path],
    output: Path,
    *,
    language: str = "en",
    title: str = "",
    formats: Sequence[Format] = (),
    figures_only: Sequence[Path] = (),
    labels: Mapping[Path, str] | None = None,
    cards: Sequence[Path] = (),
) -> list[Path]:
    """Write a report on what commands of `thorax` left in some folders.

    HTML, PDF and slides are a study with chapters; Markdown is a page of the results alone, without
    pictures of patients.

    Args:
        folders: Folders of training runs, evaluations and the other kinds of `KINDS`.
        output: Folder for the files and a manifest, made if it does not exist; or one file, whose ending
            is its format.
        language: Code of the language of headings and fixed text.
        title: Title in place of the language's own.
        formats: What to write; HTML, PDF and slides without it.
        figures_only: Those of the folders whose pictures of patients are left out.
        labels: Names for folders; evaluations with the same name are seeds of one recipe.
        cards: Existing pages, such as model cards, whose marked lines take the sections of that name.

    Returns:
        The files.

    Raises:
        ConfigError: If the language is not known, the file's ending is another format, or a package
            that a format needs is not installed.
        DataError: If a folder is of no kind or damaged, or a card has no place for a section.
        OutputError: If a file cannot be written.
    """
    words = read_language(language)
    targets = _targets(output, formats)
    if Format.PDF in targets:
        require_pdf()
    if Format.PPTX in targets:
        require_slides()
    sources = read_sources(KINDS, folders, figures_only, labels)
    with tempfile.TemporaryDirectory() as pictures, texts_by(words.translated):
        if any(form is not Format.MD for form in targets):
            study = make_study(sources, words, Path(pictures), title=title)
        if Format.MD in targets or cards:
            plain = [replace(source, figures_only=True) for source in sources]
            folder = output_folder(Path(pictures) / "page")
            page = make_page(plain, words, folder, title=title)
        for card in cards:
            fill_card(card, page)
        for form, path in targets.items():
            output_folder(path.parent)
            WRITERS[form](path, page if form is Format.MD else study, words)
    if not output.suffix:
        write_manifest(
            output,
            sources={source.name: source.kind for source in sources},
            language=language,
            outputs=[path.name for path in targets.values()],
        )
    return [*targets.values(), *cards]


def _targets(output: Path, formats: Sequence[Format]) -> dict[Format, Path]:
    if not output.suffix:
        chosen = formats or [form for form in Format if form is not Format.MD]
        return {form: output / form.file_name for form in chosen}
    known = [form for form in Format if f".{form}" == output.suffix]
    if not known or any(form not in known for form in formats):
        raise ConfigError(
            f"expected a folder, or one file whose ending is the format, found {output} with --format "
            f"{', '.join(formats) or 'not given'}; formats are {', '.join(Format)}"
        )
    return {known[0]: output}


WRITERS: Final[Mapping[Format, Callable[[Path, Document, Language], None]]] = {
    Format.HTML: write_html,
    Format.PDF: lambda path, document, words: write_pdf(path, html_text(document, words)),
    Format.PPTX: write_slides,
    Format.MD: lambda path, document, _: write_page(path, document),
}


def write_result_page(folder: Path, path: Path) -> Path:
    """Write the page of the results in one folder, as the command that wrote them does at its end.

    Args:
        folder: Folder of the command.
        path: Page to write, in HTML or, without pictures of patients, in Markdown.

    Raises:
        DataError: If the folder holds no result.
        OutputError: If the page cannot be written.
    """
    words, form = read_language(DEFAULT), Format(path.suffix[1:])
    sources = read_sources(KINDS, [folder], [folder] if form is Format.MD else ())
    with tempfile.TemporaryDirectory() as pictures:
        WRITERS[form](path, make_page(sources, words, Path(pictures)), words)
    return path


def make_documents(sources: Sequence[Source], words: Language, pictures: Path) -> list[tuple[Kind, Document]]:
    """One document for each kind of result that is given.

    Args:
        sources: As from `read_sources`.
        words: Language.
        pictures: Existing folder that takes the pictures; each kind gets a folder of its own.

    Raises:
        DataError: If a file lacks what this version reads.
        OutputError: If a picture cannot be written.
    """
    found = []
    trials = [source.folder for source in speed.engine_trials(sources)]
    for kind in KINDS:
        own = [source for source in sources if source.kind == kind.name and source.folder not in trials]
        if own:
            folder = output_folder(pictures / kind.name)
            context = Context(words, folder, sources)
            make = functools.partial(kind.document, own, context)
            found.append((kind, rewritten(from_content(kind, own, make), words.translated)))
    return found


def make_page(sources: Sequence[Source], words: Language, pictures: Path, *, title: str = "") -> Document:
    """The results alone, with their limits and the commands that wrote the folders.

    Args:
        sources: As from `read_sources`.
        words: Language.
        pictures: Existing folder that takes the pictures that are drawn.
        title: Title; that of the result without it.

    Raises:
        DataError: If a folder is damaged.
        OutputError: If a picture cannot be written.
    """
    documents = [document for _, document in make_documents(sources, words, pictures)]
    sections: list[Section] = []
    for document in documents:
        if len(documents) > 1:
            lead = [document.lead] if document.lead else []
            sections.append(Section(document.title, lead))
        level: Literal[2, 3] = 3 if len(documents) > 1 else 2
        sections += [replace(section, level=level) for section in document.sections]
    for key in ("limits", "suggestions"):
        points = list(dict.fromkeys(one for document in documents for one in getattr(document, key)))
        if points:
            sections.append(Section(words(f"chapter.{key}"), points=points))
    commands = list(dict.fromkeys(source.command for source in sources if source.command))
    if commands:
        lead = [words("commands.lead")]
        sections.append(Section(words("chapter.commands"), lead, listing="\n".join(commands)))
    alone = documents[0] if len(documents) == 1 else None
    own_title = alone.title if alone else words("report.title_other")
    made = words("page.lead", version=pipelines.__version__)
    return Document(title or own_title, f"{alone.lead} {made}" if alone and alone.lead else made, sections)


def make_study(sources: Sequence[Source], words: Language, pictures: Path, *, title: str = "") -> Document:
    """Chapters of a report on some folders; those on the method and its limits where hearts are among them.

    Args:
        sources: As from `read_sources`.
        words: Language.
        pictures: Existing folder that takes the pictures that are drawn.
        title: Title; that of the language without it.

    Raises:
        DataError: If a folder is damaged.
        OutputError: If a picture cannot be written.
    """
    found = make_documents(sources, words, pictures)
    documents = [document for _, document in found]
    is_of_hearts = any(_is_of_hearts(source) for source in sources)
    parts: dict[str, list[Section]] = {name: [] for name in CHAPTERS}
    for kind, document in found:
        for section in document.sections:
            parts[section.chapter or kind.chapter].append(section)
    versions = versions_table(sources, words)
    limits = [one for document in documents for one in document.limits]
    if names := differing_versions(versions):
        limits.append(words("limits.versions", names=", ".join(names)))
    limits.append(words("limits.device"))
    suggestions = list(dict.fromkeys(one for document in documents for one in document.suggestions))
    sections: list[Section] = []
    is_of_xrays = not is_of_hearts and any(kind.name in XRAY_KINDS for kind, _ in found)
    if is_of_xrays:
        named = filter(None, (source.manifest.get("source") for source in sources))
        limits += [words("limits.xray_source", source=one) for one in dict.fromkeys(named)]
        limits += [words("limits.xrays"), words("limits.xray_labels")]
        aims = [words(f"problem.xray_aim_{index}") for index in (1, 2, 3)]
        sections.append(Section(words("chapter.problem"), [words("problem.xray_text")], aims))
        sections.append(Section(words("chapter.method"), [words("method.xray_text")], is_detail=True))
    if is_of_hearts:
        limits += [words(key) for key in HEART_LIMITS]
        limits += [
            words("limits.not_given", kind=words(f"kind.{kind.name}"), command=kind.command)
            for kind in missing_kinds(sources)
        ]
        aims = [words(f"problem.aim_{index}") for index in (1, 2, 3)]
        sections.append(Section(words("chapter.problem"), [words("problem.text")], aims))
        works = [
            Reference(words("related.work", about=words(f"related.{key}"), cited=cited), url)
            for key, (cited, url) in WORKS.items()
        ]
        sections.append(
            Section(words("chapter.related"), [words("related.text")], references=works, is_detail=True)
        )
    for name in CHAPTERS:
        if parts[name] or is_of_hearts:
            key = "xray_intro" if is_of_xrays and name == "results" else "intro"
            intro = words(f"{name}.{key}" if parts[name] else f"{name}.absent")
            sections.append(Section(words(f"chapter.{name}"), [intro], is_detail=not parts[name]))
            sections += [replace(section, level=3) for section in parts[name]]
        if name == "data" and is_of_hearts:
            sections += method_sections(networks_of(sources), words, pictures)
    lead = words("suggestions.lead" if suggestions else "suggestions.none")
    sections += [
        Section(words("chapter.limits"), points=limits),
        Section(words("chapter.suggestions"), [lead], suggestions),
    ]
    if is_of_hearts:
        models = models_table(sources, words)
        absent, tables = ([], [models]) if models.rows else ([words("models.none")], [])
        sections.append(Section(words("chapter.models"), absent, tables=tables, is_detail=True))
    sections.append(Section(words("chapter.versions"), tables=[versions], is_detail=True))
    if words.code == DEFAULT:  # a changelog is written in one language
        opening = [words("changes.lead", version=pipelines.__version__)]
        changed = [_bundle_changes(words)]
        sections.append(Section(words("chapter.changes"), opening, changes(), changed, is_detail=True))
    folders = ", ".join(dict.fromkeys(source.name for source in sources))
    kind_of_title = "title" if is_of_hearts else "title_xrays" if is_of_xrays else "title_other"
    title = title or words(f"report.{kind_of_title}")
    lead = words("report.lead", version=pipelines.__version__, folders=folders)
    return rewritten(Document(title, lead, sections), without_marks)


def missing_kinds(sources: Sequence[Source]) -> list[Kind]:
    """Usual kinds that no source is of."""
    given = {source.kind for source in sources}
    return [kind for kind in KINDS if kind.is_usual and kind.name not in given]


def _is_of_hearts(source: Source) -> bool:
    if source.kind == training.KIND.name:
        return not training.is_of_xrays(source.run)
    return next(kind for kind in KINDS if kind.name == source.kind).is_usual


def models_table(sources: Sequence[Source], words: Language) -> Table:
    """Models of the runs, and those that only an evaluation records, with the SHA-256 of their files.

    An evaluation belongs to a run if the fingerprint of weights in its manifest is that of the run's.

    Args:
        sources: As from `read_sources`.
        words: Language.

    Raises:
        DataError: If a run is damaged.
    """
    evaluations = [source for source in sources if source.kind == evaluation.KIND.name]
    rows: list[list[Cell]] = []
    claimed: set[Path] = set()
    for source in sources:
        if source.kind != training.KIND.name:
            continue
        run, file = source.run, source.folder / BEST_NAME
        digest = file_sha256(file) if file.is_file() else None
        weights = [digest[:FINGERPRINT_DIGITS]] if digest else []
        own = [one for one in evaluations if weights and one.manifest.get("weights") == weights]
        claimed |= {one.folder for one in own}
        data = words("training.fold_all") if run.all_patients else words("training.fold", fold=run.fold)
        if split := source.manifest.get("split_hash"):
            data = words("models.split", data=data, split=split)
        best = None if run.all_patients else number(run.best("val_mean_dice"), 3)
        values = "; ".join(_dice(one, words) for one in own) or None
        shown = f"{run.name}/{BEST_NAME}"
        rows.append([run.name, run.network, data, best, values, shown, digest or words("models.gone")])
    for source in evaluations:
        if source.folder not in claimed:
            rows += _models_of(source, words)
    keys = ("table.model", "table.network", "training.data", "models.validation", "models.measured")
    return Table(words("models.table"), words.titles(*keys, "models.file", "SHA-256"), rows)


def _models_of(source: Source, words: Language) -> Iterator[list[Cell]]:
    """Models of an evaluation whose weights are of no run given; none where they are not recorded."""
    manifest, networks = source.manifest, source.networks
    if manifest.get("bundle_weights"):
        own = _dice(source, words) if len(networks) == 1 else None
        for network in networks:
            if network in NETWORKS:
                name = words("models.bundle", name=source.name, network=network)
                file = ACDC_BUNDLE / "models" / network / "model.pt"
                shown = f"{file.parent.name}/{file.name}"
                digest = file_sha256(file) if file.is_file() else words("models.gone")
                yield [name, network, words("models.card"), None, own, shown, digest]
    elif isinstance(manifest.get("weights"), list):
        known = ", ".join(f"{value}…" for value in manifest["weights"])
        unknown = words("models.unknown")
        yield [source.name, ", ".join(networks), unknown, None, _dice(source, words), None, known]


def _dice(source: Source, words: Language) -> str:
    dice = source.content["summary"]["dice"]["mean"]
    shown = estimate(dice, source.content["intervals"]["dice"]["mean"], 3, words)
    return f"{source.name}: {shown}"


def versions_table(sources: Sequence[Source], words: Language) -> Table:
    """Versions that made the report, next to those that the folders' manifests record.

    Args:
        sources: As from `read_sources`.
        words: Language.
    """
    now: dict[str, str | None] = {"thorax": pipelines.__version__, "python": platform.python_version()}
    now |= package_versions((*PACKAGES, *REPORT_PACKAGES))
    then: dict[str, list[str]] = {}
    for source in sources:
        own: dict[str, Any] = {key: source.manifest.get(key) for key in ("thorax", "python")}
        for name, release in (own | source.manifest.get("packages", {})).items():
            if release is not None and release not in then.setdefault(name, []):
                then[name].append(release)
    names = [*now, *(name for name in then if name not in now)]
    return Table(
        words("versions.table"),
        words.titles("versions.package", "versions.now", "versions.runs"),
        [[name, now.get(name) or MISSING, ", ".join(then.get(name, [])) or MISSING] for name in names],
    )


def differing_versions(table: Table) -> list[str]:
    """Packages of `versions_table` that the folders were written with another version of."""
    return [str(row[0]) for row in table.rows if row[2] != MISSING and row[1] != row[2]]


def changes(path: Path = CHANGELOG) -> list[str]:
    """User-visible changes of this version, a sentence each; empty where no changelog is shipped.

    Args:
        path: Changelog in Markdown: `## VERSION`, then a list.
    """
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    _, _, rest = text.partition(f"\n## {pipelines.__version__}\n")
    section = re.split(r"\n## ", rest, maxsplit=1)[0]
    entries = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    return [" ".join(entry.split()) for entry in entries]


def _bundle_changes(words: Language) -> Table:
    """Changes of the bundle from its metadata, the newest first."""
    metadata = ACDC_BUNDLE / "configs" / "metadata.json"
    found: dict[str, str] = read_json(metadata)["changelog"]
    return Table(
        words("changes.bundle", name=ACDC_BUNDLE.name),
        [words("changes.version"), words("changes.change")],
        [[release, change] for release, change in found.items()],
    )
