"""The commands of `thorax` that perform and report the training recipe."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import HeartNetwork, Output, console, say
from pipelines.cli.training import Setting
from pipelines.core.progress import progress_bar


def check_training(
    root: Annotated[Path, typer.Argument(help="Folder in ACDC's layout, or one of 'thorax prepare'.")],
    output: Output,
    network: HeartNetwork = "unet",
    minutes: Annotated[float, typer.Option(help="Time for all steps, about.", min=1)] = 240.0,
    fold: Annotated[int, typer.Option(help="Fold of validation, 0 to 4.", min=0, max=4)] = 0,
    smoke: Annotated[bool, typer.Option("--smoke", help="Seconds, to see that all works.")] = False,
    keep_going: Annotated[
        bool, typer.Option("--keep-going", help="Continue after a step that failed.")
    ] = False,
    address: Annotated[
        str | None, typer.Option(help="Existing Ray cluster, e.g. auto; without it Ray starts here.")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="Trials at a time, one thread each; 0: one a core.")] = 0,
    setting: Setting = None,
) -> None:
    """Check and do each step from data to a trained network; the same command resumes."""
    from pipelines.reporting.report import write_result_page
    from pipelines.training.checks.recipe import run_recipe
    from pipelines.training.launch import parse_settings

    page = output / "recipe.md"

    with progress_bar("Recipe", console) as tell:
        content = run_recipe(
            root,
            output,
            network=network,
            minutes=minutes,
            smoke=smoke,
            fold=fold,
            keep_going=keep_going,
            address=address,
            concurrency=concurrency,
            settings=parse_settings(setting or []),
            progress=tell,
            on_step=lambda: write_result_page(output, page),
        )
    failed = "too short" if smoke else "FAIL"
    for step in content["steps"].values():
        say(f"{'pass' if step['passed'] else failed}  {step['title']}: {step['finding']}")
    if smoke:
        say("a smoke test: that all steps ran is what it shows, their values mean nothing")
    if not content["finished"]:
        say("ended at the step that failed; put right what it says, or continue with --keep-going")
    say(f"figures and findings in {page}")
