"""The commands of `thorax` that make a network leave: into a file, or into the bundle."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.options import Network, Output, Overwrite, Weights, console, refuse_results, say
from pipelines.core.errors import ConfigError
from pipelines.core.manifest import MANIFEST_NAME


def export(
    source: Annotated[
        str, typer.Argument(metavar="BUNDLE_OR_NETWORK", help="A network, or a bundle's name or folder.")
    ],
    output: Output,
    network: Annotated[
        str | None, typer.Option(help="Network of the bundle; by default its first one.")
    ] = None,
    form: Annotated[
        Literal["bundle", "torchscript", "onnx", "openvino"],
        typer.Option("--format", help="bundle is a zip that runs with MONAI alone."),
    ] = "bundle",
    int8: Annotated[
        bool, typer.Option("--int8", help="In 8-bit integers, with --format openvino; needs --data.")
    ] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Prepared folder or images to check the export on; generated ones without it."),
    ] = None,
    weights: Weights = None,
    overwrite: Overwrite = False,
) -> None:
    """Write a network in another format, and check it against its source at once."""
    from pipelines.export.command import export_network
    from pipelines.export.formats import INT8, Name, find_network

    if int8 and form != "openvino":
        raise ConfigError(f"expected --format openvino with --int8, found {form}; OpenVINO runs int8 here")
    name, bundle = find_network(source, network)
    chosen: Name = INT8 if int8 else form
    refuse_results(output / f"{name}-{chosen}", [MANIFEST_NAME], overwrite=overwrite)
    with console.status(f"Exporting {name} as {chosen}, then checking it"):
        made = export_network(name, chosen, output, bundle=bundle, weights=weights, data=data)
    found = made.fidelity
    say(
        f"checked on {found.images} images: {found.measure} {found.agreement:.4f}, "
        f"probabilities differ by {found.difference:.2g} at most"
    )
    say(f"{made.size / 1e6:.1f} MB in {made.folder}")


def publish(
    network: Annotated[Network, typer.Argument(help="Network that the run trained.")],
    run: Annotated[Path | None, typer.Option(help="Folder of the training run.")] = None,
    last: Annotated[
        bool, typer.Option("--last", help="The end of the run, not its best validation.")
    ] = False,
    int8: Annotated[
        Path | None,
        typer.Option(
            help="Folder of 'thorax benchmark int8' or 'thorax export --int8'; goes beside the weights."
        ),
    ] = None,
) -> None:
    """Put the averaged weights of a run into the bundle, in 16 bits; its int8 model likewise."""
    from pipelines.export.command import publish_int8, publish_weights

    if run is None and int8 is None:
        raise ConfigError("expected what to publish, found neither --run nor --int8; give one or both")
    if run is not None:
        say(f"weights in {publish_weights(run, network, which='last' if last else 'best')}")
    if int8 is not None:
        say(f"int8 model in {publish_int8(int8, network)}")
