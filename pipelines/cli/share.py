"""The commands of `thorax` that export networks, and keep bundles and datasets in a store."""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli import options as opt
from pipelines.cli.options import bar, console, refuse, refuse_results, say, show
from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import MANIFEST_NAME
from pipelines.core.progress import progress_to, show_progress
from pipelines.core.tasks import XRAY, task_of
from pipelines.models import bundle as bundles

Store = Annotated[
    str, typer.Argument(help="A folder, hf://OWNER for a Hugging Face hub, or e.g. s3://BUCKET/PREFIX.")
]
Name = Annotated[str | None, typer.Option(help="Name to keep it under; by default the folder's.")]
KeptName = Annotated[str, typer.Argument(help="Name that it is kept under.")]
Replace = Annotated[bool, typer.Option("--overwrite", help="Replace what is kept under the name.")]
AcceptLicence = Annotated[
    bool, typer.Option("--accept-licence", help="You have read the terms, and may keep the data under them.")
]


def push(
    folder: Annotated[Path, typer.Argument(help="Folder of a bundle, of 'thorax prepare', or of a dataset.")],
    store: Store,
    name: Name = None,
    reader: Annotated[
        str | None, typer.Option(help="Of a dataset, for its terms; 'thorax datasets' lists them.")
    ] = None,
    licence: Annotated[Path | None, typer.Option(help="Of a dataset: text file with the terms.")] = None,
    accept_licence: AcceptLicence = False,
    replace: Replace = False,
) -> None:
    """Keep a bundle or a dataset in a store, with the checksum of each file; resumable."""
    from pipelines.store.data import push_data
    from pipelines.store.transfer import is_bundle, push_bundle

    if not is_bundle(folder):
        with _bar_from_first_file("Pushing"):
            kept = push_data(
                folder,
                store,
                accept=_accept(accept_licence),
                name=name,
                reader=reader,
                licence=licence,
                replace=replace,
            )
        say(f"{kept.files} files in {kept.place}, fingerprint {kept.fingerprint}")
        return
    refuse("a dataset, found a bundle", reader=reader, licence=licence, accept_licence=accept_licence)
    with _bar_from_first_file("Pushing"):
        pushed = push_bundle(folder, store, name=name, replace=replace)
    for file in pushed.left_out:
        say(f"left out {file}: it may run code when it is loaded")
    say(f"bundle in {pushed.place}")
    say(f"fingerprint {pushed.fingerprint}: give it to those who are to pull the bundle")


def pull(
    store: Store,
    name: KeptName,
    output: opt.Output,
    fingerprint: Annotated[
        str | None,
        typer.Option(help="Of a bundle: as 'thorax store push' printed it; vouches for the configs."),
    ] = None,
    trust: opt.TrustBundle = False,
    accept_licence: AcceptLicence = False,
) -> None:
    """Fetch a bundle, of which nothing is run, or a dataset after its terms; check each file."""
    from pipelines.store.data import is_data, pull_data
    from pipelines.store.transfer import pull_bundle

    if is_data(store, name):
        refuse("a bundle, found a dataset", fingerprint=fingerprint, trust=trust)
        with _bar_from_first_file("Pulling"):
            kept = pull_data(store, name, output, accept=_accept(accept_licence))
        say(f"{kept.files} files in {kept.place}, fingerprint {kept.fingerprint}")
        return
    with _bar_from_first_file("Pulling"):
        pulled = pull_bundle(store, name, output, fingerprint=fingerprint, trusted=trust)
    say(f"bundle in {pulled.folder}, fingerprint {pulled.fingerprint}")
    if not pulled.trusted:
        say(f"its configs can run code: look through them, then 'thorax store trust {pulled.folder}'")


def trust(
    bundle: Annotated[Path, typer.Argument(help="Folder of a bundle.")],
    always: Annotated[
        bool, typer.Option("--always", help="Also what its configs will be: a folder that only you write to.")
    ] = False,
) -> None:
    """Vouch for the configs and scripts of a bundle, which can run code."""
    for file in bundles.trust(bundle, always=always):
        say(f"trusted {file}")
    say(f"{bundle} is known now, in {bundles.trusted_file()}")


def verify(
    folder: Annotated[Path, typer.Argument(help="Dataset that 'thorax store pull' fetched.")],
    store: Annotated[
        str | None, typer.Option(help="Take the checksums from there, not from the folder itself.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name in that store; by default the folder's.")] = None,
) -> None:
    """Name every file of a pulled dataset that is missing, changed or additional."""
    from pipelines.store.data import verify_data

    found = verify_data(folder, store=store, name=name)
    for line in found.lines():
        say(line)
    if found:
        raise DataError(f"expected {folder} as it was pushed, found it changed; pull it again")
    say(f"{folder} is as it was pushed")


@contextmanager
def _bar_from_first_file(title: str) -> Iterator[None]:
    """A progress bar that comes with the first file, since the terms are asked about before."""

    def begin(done: int, total: int, text: str) -> None:
        stack.enter_context(bar(title))
        show_progress(done, total, text)

    with progress_to(begin), ExitStack() as stack:
        yield


def _accept(accepted: bool) -> Callable[[Mapping[str, str]], bool]:
    """Shows the terms; asks at a terminal unless they are accepted already."""

    def accept(terms: Mapping[str, str]) -> bool:
        for key, text in terms.items():
            say(f"{key}: {text}")
        return accepted or (is_terminal() and typer.confirm("May you keep the data under these terms?"))

    return accept


def is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


def export(
    source: Annotated[
        str, typer.Argument(metavar="BUNDLE_OR_NETWORK", help="A network, or a bundle's name or folder.")
    ],
    output: opt.Output,
    network: Annotated[
        str | None, typer.Option(help="Network of the bundle; by default its first one.")
    ] = None,
    form: Annotated[
        Literal["bundle", "torchscript", "onnx", "openvino", "int8"],
        typer.Option(
            "--format",
            help="bundle is a zip that runs with MONAI alone; int8 is OpenVINO's, and needs --data.",
        ),
    ] = "bundle",
    int8: Annotated[bool, typer.Option("--int8", hidden=True)] = False,
    data: Annotated[
        Path | None,
        typer.Option(help="Prepared folder or images to check the export on; generated ones without it."),
    ] = None,
    weights: opt.Weights = None,
    rounds: Annotated[
        int,
        typer.Option(
            help="Of int8 radiographs: measure size, latency and accuracy of it and the float model, in so "
            "many rounds.",
            min=0,
        ),
    ] = 0,
    section: opt.SplitPart = "test",
    overwrite: opt.Overwrite = False,
) -> None:
    """Write a network in another format, and check it against its source at once."""
    from pipelines.export.command import export_network
    from pipelines.export.formats import INT8, Name, find_network

    if int8 and form not in ("openvino", "int8"):
        raise ConfigError(f"expected --format int8 in place of --int8, found --format {form} with it")
    form = "int8" if int8 else form
    name, bundle = find_network(source, network)
    if rounds:
        if form != "int8" or data is None or task_of(name) is not XRAY:
            raise ConfigError(
                "expected --rounds with --format int8, --data and a network of radiographs; leave it out"
            )
        from pipelines.export.quantize import quantize_and_compare
        from pipelines.reporting.results.speed import runtimes_table

        refuse_results(output, [MANIFEST_NAME], overwrite=overwrite)
        with bar("Measuring"):
            model, content = quantize_and_compare(
                name, data, output, weights=weights, section=section, rounds=rounds
            )
        show(runtimes_table(content))
        say(f"model in {model}, values in {output}")
        return
    chosen: Name = INT8 if form == "int8" else form
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
    network: Annotated[opt.Network, typer.Argument(help="Network that the run trained.")],
    run: Annotated[
        list[Path],
        typer.Option(
            help="Folder of the training run, or of 'thorax export --format int8'; may be repeated."
        ),
    ],
    last: Annotated[
        bool, typer.Option("--last", help="The end of the run, not its best validation.")
    ] = False,
) -> None:
    """Put the averaged weights of a run into the bundle, in 16 bits; its int8 model likewise."""
    from pipelines.export.command import publish_int8, publish_weights
    from pipelines.models.engines import INT8_NAME

    exported = [folder for folder in run if (folder / INT8_NAME).is_file()]
    for folder in run:
        if folder not in exported:
            say(f"weights in {publish_weights(folder, network, which='last' if last else 'best')}")
    for folder in exported:
        say(f"int8 model in {publish_int8(folder, network)}")
