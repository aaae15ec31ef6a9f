"""The command of `thorax` that reports on runs."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import Output, console, say
from pipelines.reporting.language import DEFAULT
from pipelines.reporting.report.formats import Format


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Folders of runs, evaluations, recipes, comparisons and their like."),
    ],
    output: Output,
    language: Annotated[
        str, typer.Option("--lang", help="Language of headings and fixed text, e.g. en or fa.")
    ] = DEFAULT,
    title: Annotated[str, typer.Option(help="Title in place of the language's own.")] = "",
    formats: Annotated[
        list[Format] | None,
        typer.Option("--format", help="What to write; may be repeated. Everything without it."),
    ] = None,
    figures_only: Annotated[
        list[Path] | None,
        typer.Option(help="Run whose pictures of patients are left out; may be repeated."),
    ] = None,
) -> None:
    """Report on runs: HTML, PDF and slides with data, method, results, errors and limits."""
    from pipelines.reporting.report.write import write_study_report

    with console.status("Writing the report"):
        written = write_study_report(
            runs,
            output,
            language=language,
            title=title,
            formats=formats or list(Format),
            figures_only=figures_only or (),
        )
    for path in written:
        say(str(path))
