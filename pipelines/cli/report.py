"""The command of `thorax` that reports on runs, and the old names of its pages."""

from pathlib import Path
from typing import Annotated, Any, Final

import typer

from pipelines.cli import options as opt
from pipelines.cli.options import console, refuse, say
from pipelines.core.errors import ConfigError
from pipelines.core.files import output_folder
from pipelines.reporting.document import DEFAULT, Format

ANY_WORDS: Final[dict[str, Any]] = {"allow_extra_args": True, "ignore_unknown_options": True}

CARDS: Final = {
    "acdc": "bundles/acdc_segmentation/docs/README.md",
    "chest-xray": "bundles/chest_xray_classification/docs/README.md",
}
"""Model cards that old pages filled as well."""

OLD_PAGES: Final = {
    "acdc": ("docs/results/acdc.md", ""),
    "active-learning": ("docs/results/active-learning.md", "runs/active-learning"),
    "bench": ("docs/results/speed.md", "runs/bench"),
    "chest-xray": ("docs/results/chest-xray.md", ""),
    "cohort": ("docs/concepts/scale.md", "runs/cohort-bench"),
    "compare": ("docs/results/comparison.md", "runs/compare"),
    "cross-dataset": ("docs/results/cross-dataset.md", "runs/cross"),
    "cross-validation": ("docs/results/cross-validation.md", "runs/cross"),
    "disease": ("docs/results/disease.md", "runs/disease"),
    "eda": ("docs/results/acdc-data.md", "runs/acdc-eda"),
    "errors": ("docs/results/errors.md", "runs/errors"),
    "interaction": ("docs/results/interaction.md", "runs/interaction"),
    "quality": ("docs/results/quality.md", ""),
    "recipe": ("docs/results/recipe.md", "runs/recipe"),
    "xray-search": ("docs/results/chest-xray-search.md", ""),
}
"""Old names of pages: where each was written, and the folder that it was made from without options."""


def report(
    runs: Annotated[
        list[str],
        typer.Argument(
            help="Folders of runs, evaluations, recipes, comparisons and so on; NAME=FOLDER names one, and "
            "evaluations on radiographs with one name are seeds of a recipe."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="Folder for the results, or one file that ends in its format."),
    ],
    language: Annotated[
        str, typer.Option("--lang", help="Language of headings and fixed text, e.g. en or fa.")
    ] = DEFAULT,
    title: Annotated[str, typer.Option(help="Title in place of the language's own.")] = "",
    formats: Annotated[
        list[Format] | None,
        typer.Option(
            "--format",
            help="html, pdf, pptx, or md: the results alone, without pictures of patients. May be repeated; "
            "html, pdf and pptx without it.",
        ),
    ] = None,
    figures_only: Annotated[
        list[Path] | None,
        typer.Option(help="Run whose pictures of patients are left out; may be repeated."),
    ] = None,
    card: Annotated[
        list[Path] | None,
        typer.Option(help="Page, e.g. a model card, whose marked lines take the results; may be repeated."),
    ] = None,
    study: Annotated[
        str | None, typer.Option(help="Of a cohort: the page of one study, from its label maps.")
    ] = None,
    anonymous: opt.Anonymous = False,
    fhir: opt.Fhir = False,
) -> None:
    """Report on runs, or on one study of a cohort: HTML, PDF, slides or a page for a site."""
    if study is not None:
        given = {"title": title, "format": formats, "figures_only": figures_only, "card": card}
        refuse("results, found a study", **given)
        if len(runs) != 1:
            raise ConfigError(f"expected one folder of 'thorax cohort run' with --study, found {len(runs)}")
        from pipelines.cohort.worker import finished_study
        from pipelines.reporting.study_page import StudyPages, model_words

        found, masks, networks = finished_study(Path(runs[0]), study)
        pages = StudyPages(model_words(networks), language, anonymous)
        for path in pages.of_masks(found, masks, output_folder(output), fhir=fhir):
            say(str(path))
        return
    refuse("--study", anonymous=anonymous, fhir=fhir)
    labels = {}
    folders = []
    for text in runs:
        name, sign, rest = text.partition("=")
        is_named = sign and not Path(text).exists()
        folder = Path(rest if is_named else text)
        folders.append(folder)
        if is_named:
            labels[folder] = name
        opt.require_files("runs", [folder])
    from pipelines.reporting.report import write_report

    with console.status("Writing the report"):
        written = write_report(
            folders,
            output,
            language=language,
            title=title,
            formats=formats or (),
            figures_only=figures_only or (),
            labels=labels,
            cards=card or (),
        )
    for path in written:
        say(str(path))


def results(context: typer.Context) -> None:
    """Answer an old name of a page: name the command that replaces it, and run that."""
    page, *words = context.args or [""]
    if page not in OLD_PAGES:
        raise ConfigError(
            f"expected an old page among {', '.join(OLD_PAGES)}, found {page!r}; see thorax report"
        )
    target, folder = OLD_PAGES[page]
    output = Path(target)
    runs: list[str] = []
    for option, value in zip(words[::2], words[1::2], strict=False):
        if option in ("--output", "-o"):
            output = Path(value) / output.name
        elif option == "--name":
            output = output.with_name(f"{value}-data.md")
        else:
            runs.append(f"{option[2:]}={value}" if option in ("--base", "--tuned") else value)
    runs = runs or [folder]
    cards = [Path(CARDS[page])] if page in CARDS else []
    shown = ["thorax report", *runs, "--output", str(output), *(f"--card {card}" for card in cards)]
    say(f"thorax results {page} is now: {' '.join(shown)}")
    report(runs, output, card=cards)
