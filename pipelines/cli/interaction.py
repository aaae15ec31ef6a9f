"""The commands of `thorax` about correction by clicks and scribbles."""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.cli.options import (
    AcdcNetwork,
    Device,
    Fold,
    HeartNetwork,
    Output,
    SplitPart,
    Weights,
    console,
    keeps_results,
    say,
)
from pipelines.cli.training import Setting
from pipelines.core.progress import progress_bar


@keeps_results
def interact_benchmark(
    root: Annotated[
        Path, typer.Argument(help="Labelled folder in ACDC's layout, or a datalist of 'thorax prepare'.")
    ],
    output: Output,
    network: HeartNetwork = "unet",
    weights: Weights = None,
    corrector_weights: Annotated[
        Path | None, typer.Option(help="Weights of the corrector to use instead of the bundle's own.")
    ] = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    clicks: Annotated[int, typer.Option(help="Most clicks on a volume.", min=1)] = 10,
    slice_clicks: Annotated[int, typer.Option(help="Most clicks on a slice by itself.", min=1)] = 5,
    device: Device = "auto",
) -> None:
    """Simulate a user who corrects automatic masks; write Dice against clicks."""
    from pipelines.core.manifest import write_manifest
    from pipelines.datasets.acdc import read_acdc
    from pipelines.datasets.prepare import section_records
    from pipelines.interaction import benchmark
    from pipelines.interaction.corrector import Corrector
    from pipelines.models.heart import Predictor
    from pipelines.reporting.results.interaction import interaction_table, write_plot
    from pipelines.reporting.terminal import render

    chosen = section_records(root, section, fold)
    records = list(read_acdc(root).patients) if chosen is None else chosen
    corrector = Corrector.load(weights=corrector_weights, device=device)
    automatic = Predictor.load(network, weights=weights, device=device)
    with progress_bar("Clicking", console) as tell:
        content = benchmark.interact_benchmark(
            output,
            corrector,
            automatic,
            records,
            clicks=clicks,
            slice_clicks=slice_clicks,
            progress=tell,
            automatic_network=network,
            automatic_weights="weights given for it" if weights else "the bundle's own weights",
            section="the whole folder" if chosen is None else f"section {section}",
        )
    plot = write_plot(content, output / "interaction.png")
    outputs = [benchmark.CONTENT_NAME, "clicks.csv", plot.name]
    write_manifest(output, network=network, section=section, outputs=outputs)
    console.print(render(interaction_table(content)))
    say(f"figures and plot in {output}")


def unseen_masks(
    network: Annotated[AcdcNetwork, typer.Argument(help="Network of the ACDC bundle.")],
    dataset_dir: Annotated[Path, typer.Option(help="Folder of 'thorax prepare', or of the raw data.")],
    output: Output,
    fold: Annotated[int, typer.Option(help="Fold that is left out, as the corrector validates on it.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Resume the runs in the output folder.")] = False,
    smoke: Annotated[
        bool, typer.Option("--smoke", help="Seconds, not hours: to see that all works.")
    ] = False,
    setting: Setting = None,
) -> None:
    """Segment each half of the training patients with a network trained on the other."""
    from pipelines.core.manifest import write_manifest
    from pipelines.interaction.simulation import write_unseen_masks
    from pipelines.training.launch import parse_settings

    values = parse_settings(setting or [])
    with progress_bar("Training", console) as tell:
        masks = write_unseen_masks(
            network,
            dataset_dir,
            output,
            fold=fold,
            resume=resume,
            overlays=("smoke",) if smoke else (),
            progress=tell,
            **values,
        )
    write_manifest(output, network=network, fold=fold, outputs=[path.name for path in masks])
    say(f"{len(masks)} masks in {output}")
    say(f"train with them: thorax train corrector --set unseen_masks={output.resolve()} ...")
