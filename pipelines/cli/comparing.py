"""The commands of `thorax` that compare models, and measure them on patients they have not seen."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import AcdcNetwork, Device, Fold, Output, SplitPart, console, say
from pipelines.cli.training import Setting
from pipelines.core.progress import progress_bar


def cross_validate(
    network: Annotated[AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")],
    dataset_dir: Annotated[Path, typer.Option(help="Folder of 'thorax prepare acdc'.")],
    output: Output,
    folds: Annotated[
        str | None, typer.Option(help="Folds to do, e.g. 0,3; all without it. Processes may share the work.")
    ] = None,
    best: Annotated[
        bool,
        typer.Option(
            "--best", help="Measure the best validation, which those measured chose, not the end of the run."
        ),
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Resume in the output folder, fold by fold and within a fold.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Seconds, not hours: to see that all works.")
    ] = False,
    settings: Annotated[Path | None, typer.Option(help="YAML file of settings; --set overrides it.")] = None,
    setting: Setting = None,
) -> None:
    """Train a network for each fold; measure each patient by the one that has not learned from it."""
    from pipelines.reporting.results.evaluation import accuracy_table
    from pipelines.reporting.terminal import render
    from pipelines.training.cross_validation import CONTENT_NAME, parse_folds
    from pipelines.training.cross_validation import cross_validate as run_cross_validation
    from pipelines.training.launch import parse_settings, read_settings

    values = (read_settings(settings) if settings else {}) | parse_settings(setting or [])
    with progress_bar("Cross-validating", console) as tell:
        content = run_cross_validation(
            network,
            dataset_dir,
            output,
            folds=parse_folds(folds) if folds is not None else None,
            which="best" if best else "last",
            resume=resume,
            overlays=("smoke",) if smoke else (),
            progress=tell,
            **values,
        )
    if content is None:
        say(f"folds in {output}; the process that does the last missing one writes {CONTENT_NAME}")
        return
    console.print(render(accuracy_table(content)))
    say(f"figures over all folds in {output / CONTENT_NAME}")


def compare(
    output: Output,
    evaluations: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Folders of 'thorax evaluate' or 'thorax cross-validate', named as their models."
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=NETWORK[:WEIGHTS][+NETWORK[:WEIGHTS]...][+tta], measured if not there; repeatable."
        ),
    ] = None,
    dataset_dir: Annotated[
        Path | None, typer.Option(help="Folder of 'thorax prepare acdc', to measure models on.")
    ] = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    trials: Annotated[
        Path | None, typer.Option(help="Folder of 'thorax tune' or of training runs: effect of settings.")
    ] = None,
    device: Device = "auto",
) -> None:
    """Compare models on the same patients: figures, paired tests, ranks, cost, settings."""
    from pipelines.core.manifest import write_manifest
    from pipelines.evaluation.comparison import Model, write_comparison
    from pipelines.evaluation.comparison import compare as compare_all
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.comparison import findings
    from pipelines.training.search import read_scored_settings

    models = [Model.parse(text) for text in model or []]
    with progress_bar("Evaluating", console) as tell:
        content = compare_all(
            evaluations or [],
            models,
            output,
            dataset_dir=dataset_dir,
            section=section,
            fold=fold,
            trials=read_scored_settings(trials) if trials else None,
            device=device,
            progress=tell,
        )
    outputs = write_comparison(content, output)
    pages = [output / "comparison.md", output / "comparison.html"]
    write_manifest(
        output,
        models=list(content["models"]),
        section=section,
        fold=fold,
        outputs=[*outputs, *(page.name for page in pages)],
    )
    for page in pages:
        write_result_page(output, page)
    for sentence in findings(content):
        say(sentence)
    say(f"values, tests and pictures in {pages[0]}")
