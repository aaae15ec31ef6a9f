"""The commands of `thorax` that hold models against each other, and against patients they have not seen."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli_options import AcdcNetwork, Output, console, say
from pipelines.cli_training import Setting
from pipelines.progress import progress_bar


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
        bool, typer.Option("--resume", help="Go on in the output folder, fold by fold and within a fold.")
    ] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Seconds, not hours: to see that all works.")
    ] = False,
    settings: Annotated[
        Path | None, typer.Option(help="YAML file of settings; --set goes before it.")
    ] = None,
    setting: Setting = None,
) -> None:
    """Train a network for each fold; measure each patient by the one that has not learned from it."""
    from pipelines.reporting.tables import metrics_table
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
    console.print(metrics_table(content))
    say(f"figures over all folds in {output / CONTENT_NAME}")
