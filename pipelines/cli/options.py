"""Options that several commands of `thorax` share, and how they speak."""

import difflib
import functools
import inspect
import shlex
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer
from rich.console import Console
from typer.core import TyperCommand, TyperGroup

from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.files import MANIFEST_NAME, write_manifest
from pipelines.core.progress import progress_bar
from pipelines.core.tasks import HEART, XRAY
from pipelines.models import bundle as bundles

if TYPE_CHECKING:
    from pipelines.reporting.document import Table

console = Console()

AcdcNetwork = Literal["unet", "attention_unet", "vnet"]
XrayNetwork = Literal["efficientnet_lite0", "resnet18_tuned", "resnet18", "resnet34", "resnet50"]
ImageNetworkName = Literal[AcdcNetwork, XrayNetwork]
Network = Literal[ImageNetworkName, "corrector"]
Section = Literal["training", "validation", "test"]
Labelled = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Folder of 'thorax prepare', or the labelled folder of a dataset."),
]
Prepared = Annotated[Path, typer.Argument(metavar="DATA", help="Folder of 'thorax prepare'.")]
Data = Annotated[
    Path, typer.Option("--data", help="Folder of 'thorax prepare'; to train, the dataset's own works too.")
]
OwnCohort = Annotated[
    Path | None, typer.Option(help="Folder in ACDC's layout; a generated cohort without it.")
]
Resume = Annotated[bool, typer.Option("--resume", help="Resume what is in the output folder.")]
Smoke = Annotated[bool, typer.Option("--smoke", help="Take seconds, to see that all works.")]
Address = Annotated[
    str | None, typer.Option(help="Existing Ray cluster, e.g. auto; without it Ray starts here.")
]
Threads = Annotated[int, typer.Option(help="Cores of each worker.", min=1)]
Trials = Annotated[
    int, typer.Option("--workers", help="Trials at a time, one thread each; 0: one a core.", min=0)
]
ReaderName = Annotated[
    str, typer.Option("--reader", help="Dataset in the folder; 'thorax datasets' lists them.")
]
PhantomContrast = Annotated[
    Literal["cine", "low-contrast", "late-enhancement", "dark-blood"],
    typer.Option("--contrast", help="How the hearts are imaged; they stay the same."),
]
Output = Annotated[
    Path, typer.Option("--output", "-o", help="Folder for the results; made if it does not exist.")
]
LabelMeaning = Annotated[
    str | None,
    typer.Option("--label-values", help="Meaning of other label values than ACDC's, as lv=1,myo=2,rv=3."),
]
HeartNetwork = Annotated[AcdcNetwork, typer.Option(help="Network of the ACDC bundle.")]
LungsNetwork = Annotated[XrayNetwork, typer.Option(help="Network of the chest X-ray bundle.")]
ImageNetwork = Annotated[
    ImageNetworkName, typer.Option("--network", help="Network, of hearts or of radiographs.")
]
SplitPart = Annotated[
    Section, typer.Option("--split", help="Part of the split to measure (prepared data only).")
]
Fold = Annotated[int, typer.Option(help="Validation fold (prepared data only).")]
Weights = Annotated[Path | None, typer.Option(help="Weights to use instead of the bundle's own.")]
Quality = Annotated[
    bool,
    typer.Option(
        "--quality", help="Predict the quality with a second network too: more reliable, but slower."
    ),
]
Minutes = Annotated[
    float | None, typer.Option(help="Train by the clock: end after so many minutes.", min=0.01)
]
Epochs = Annotated[int | None, typer.Option(help="Number of epochs at most.", min=1)]
TrainingFold = Annotated[int | None, typer.Option(help="Validation fold, 0 to 4.", min=0, max=4)]
BatchSize = Annotated[int | None, typer.Option(help="Images or slices in a batch.", min=1)]
LearningRate = Annotated[float | None, typer.Option(help="Peak of the learning rate.")]
TrainingSeed = Annotated[int | None, typer.Option("--seed", help="Seed of weights, order and augmentation.")]
BundleFolder = Annotated[
    Path | None, typer.Option("--bundle", help="Folder of another bundle than the package's own.")
]
TrustBundle = Annotated[
    bool,
    typer.Option("--trust", help="Vouch for the bundle's configs, which can run code; remembered."),
]
Setting = Annotated[
    list[str] | None,
    typer.Option("--set", help="A setting of train.yaml, e.g. max_epochs=10; may be repeated."),
]
Method = Literal["integrated_gradients", "grad_cam", "occlusion"]
Threshold = Annotated[
    float | None,
    typer.Option(help="Probability from which pneumonia is decided; by default the one next to the weights."),
]
Engine = Annotated[
    Literal["pytorch", "openvino", "int8"],
    typer.Option(help="What runs the network: openvino and int8 are faster, and for CPUs only."),
]
UnseenOnly = Annotated[
    bool, typer.Option("--unseen-only", help="Leave out patients that the weights were trained on.")
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the results in the output folder.")]
StudyPage = Annotated[bool, typer.Option("--report", help="Write a page on each study as HTML and PDF, too.")]
PageLanguage = Annotated[str, typer.Option("--lang", help="Language of the page, e.g. en or fa.")]
Anonymous = Annotated[bool, typer.Option("--anonymous", help="Leave who and when out of the page.")]
Fhir = Annotated[bool, typer.Option("--fhir", help="Write the values of each study as HL7 FHIR (JSON), too.")]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:0.")]


def say(text: str) -> None:
    """Print as it is: paths and messages may hold brackets, and must not be broken into lines."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


def bar(title: str) -> AbstractContextManager[object]:
    """Show the progress of the block as a bar."""
    return progress_bar(title, console)


def show(*tables: "Table") -> None:
    """Print tables of a document."""
    from pipelines.reporting.terminal import render

    for table in tables:
        console.print(render(table))


def write_results(output: Path, pages: Sequence[str], outputs: Sequence[str], **details: Any) -> list[Path]:
    """Write the manifest of results and their pages; the paths of these."""
    from pipelines.reporting.report import write_result_page

    write_manifest(output, **details, outputs=[*pages, *outputs])
    return [write_result_page(output, output / page) for page in pages]


def known_bundle(bundle: Path | None, trusted: bool) -> Path:
    """The bundle that a command was given, vouched for if it says so; the package's own without one."""
    if bundle is None:
        return bundles.ACDC_BUNDLE
    if trusted:
        bundles.trust(bundle)
    return bundle


WRITTEN = {"output", "page", "users", "keep_masks", "nnunet_data"}
"""Parameters whose path a command writes; all others must be there before it starts."""


MAY_BE_EMPTY = {"incoming", "studies"}
"""Parameters whose folder fills later."""


OLD_OPTIONS = {
    "--concurrency": "--workers",
    "--dataset-dir": "--data",
    "--hold-out": "--test-set",
    "--int8": "--run",
    "--replace": "--overwrite",
    "--section": "--split",
    "--studies": "studies",
}
"""Old spellings of options, and what they are now: an option, or an argument."""


NEXT: Final = {
    "phantom": "prepare acdc {output} --output runs/prepared",
    "prepare": "train {first} --data {output} --output runs/{first}",
    "explore": "report {output} --output runs/report",
    "check-training": "report {output} --output runs/report",
    "tune": "train {network} --data {data} --settings {output}/best.yaml --output runs/tuned",
    "train": "evaluate {data} --network {network} --weights {output}/best.pt --output runs/evaluation",
    "cross-validate": "report {output} --output runs/report",
    "evaluate": "report {output} --output runs/report",
    "analyse": "report {output} --output runs/report",
    "compare": "report {output} --output runs/report",
    "segment": "serve /path/to/studies",
    "classify": "explain {images} --output runs/explained",
    "demo": "report {output}/training {output}/evaluation --output {output}/report",
}
"""What is likely to come after a command, with the values of its parameters."""


class CheckedCommand(TyperCommand):
    """A command that looks for its files before it imports anything heavy, and knows old spellings."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the new spelling of an option in place of an old one, and name it."""
        own = {option for param in self.params for option in param.opts}
        words: list[str] = []
        for word in args:
            old, sign, value = word.partition("=")
            new = OLD_OPTIONS.get(old, "")
            if old in own or new not in own:
                words.append(word)
                continue
            renamed(f"{ctx.command_path} {old}", new if new.startswith("--") else f"argument {new.upper()}")
            words += [f"{new}{sign}{value}"] if new.startswith("--") else [value] if sign else []
        return super().parse_args(ctx, words)

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            DataError: If a file or folder that it reads is missing or empty; of several, if all are.
        """
        for name, value in ctx.params.items():
            paths = [path for path in (value if isinstance(value, list | tuple) else [value]) if path]
            if name in WRITTEN or not paths or not all(isinstance(path, Path) for path in paths):
                continue
            require_files(name, paths)
        super().invoke(ctx)
        step = NEXT.get(ctx.command.name or "")
        if step and ctx.params.get("network") != "corrector":
            first = "unet" if ctx.params.get("name") == "acdc" else "efficientnet_lite0"
            images = next(iter(ctx.params.get("inputs") or []), "")
            values = {"first": first, "images": images} | ctx.params
            quoted = {name: shlex.quote(str(one)) for name, one in values.items()}
            say(f"next: thorax {step.format(**quoted)}")


def keeps_results(
    command: Callable[..., None], marks: tuple[str, ...] = (MANIFEST_NAME,)
) -> Callable[..., None]:
    """A command that cannot resume: it replaces results in its output folder by `--overwrite` only.

    Args:
        command: The command.
        marks: Files that only its results have, patterns too.
    """

    @functools.wraps(command)
    def guarded(*, output: Path, overwrite: bool, **rest: Any) -> None:
        refuse_results(output, marks, overwrite=overwrite)
        command(output=output, **rest)

    signature = inspect.signature(command)
    option = inspect.Parameter(
        "overwrite", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=Overwrite
    )
    guarded.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), option]
    )
    guarded.__annotations__ = command.__annotations__ | {"overwrite": Overwrite}
    return guarded


def refuse_results(folder: Path, marks: Iterable[str], *, overwrite: bool) -> None:
    """Refuse a folder that holds results, unless they may be replaced.

    Raises:
        OutputError: If a file is there whose name fits one of the marks.
    """
    results = [found for mark in marks for found in folder.glob(mark)]
    if results and not overwrite:
        raise OutputError(
            f"expected an output folder without results, found {results[0]}; choose another by --output, "
            "or replace them by --overwrite"
        )


OLD_COMMANDS: Final = {
    "active-learning-benchmark": "benchmark active-learning",
    "add-user": "server add-user",
    "analyse-errors": "analyse",
    "bench": "benchmark speed",
    "benchmark int8": "export --format int8 --rounds 60",
    "benchmark unseen-masks": "cross-validate --unseen-masks",
    "cohort": "cohort run",
    "cohort-benchmark": "cohort benchmark",
    "cross-evaluate": "compare --phantoms 10 --dataset",
    "data pull": "store pull",
    "data push": "store push",
    "data verify": "store verify",
    "eda": "explore",
    "errors": "analyse",
    "evaluate-quality": "quality evaluate",
    "evaluate-xray": f"evaluate --network {XRAY.networks[0]}",
    "fine-tune": "server fine-tune",
    "fit-quality": "quality fit",
    "interact-benchmark": "benchmark clicks",
    "pull": "store pull",
    "push": "store push",
    "quantize": "export --format int8 --rounds 60",
    "recipe acdc": "check-training",
    "restore-model": "server restore",
    "show-features": f"explain --network {HEART.networks[0]}",
    "simulate-scale": "cohort simulate",
    "study-explanations": "explain",
    "trust": "store trust",
    "unseen-masks": "cross-validate --unseen-masks",
    "watch": "watch run",
    "watch-status": "watch status",
}
"""Old names of commands, and what stands for them now: a command, with its options where it does more."""


class OldNames(TyperGroup):
    """All commands; an old name works for this version: it names the new one, and runs it."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that the first words name, and the words that are left."""
        old = next((name for name in (" ".join(args[:2]), args[0]) if name in OLD_COMMANDS), None)
        known = getattr(self.commands.get(args[0]), "commands", {})  # of a group whose `run` once stood alone
        if old and not (old in self.commands and {*args[1:2]} <= {*known, *ctx.help_option_names}):
            rest = args[len(old.split()) :]
            renamed(f"thorax {old}", f"thorax {OLD_COMMANDS[old]}")
            *new, last = OLD_COMMANDS[old].split()
            args = [*new, *datasets_by_option(rest)] if last == "--dataset" else [*new, last, *rest]
        return super().resolve_command(ctx, args)


def datasets_by_option(words: Iterable[str]) -> list[str]:
    """Words of the old `cross-evaluate`, whose arguments have an option now; all its options take a value."""
    left = iter(words)
    found: list[str] = []
    for word in left:
        if not word.startswith("-"):
            found += ["--dataset", word]
        else:
            found += [word] if "=" in word else [word, *islice(left, 1)]
    return found


class App(typer.Typer):
    """A group of commands, all of them checked."""

    def command(self, name: str | None = None, **settings: Any) -> Any:
        """As Typer's, with `CheckedCommand`."""
        return super().command(name, **{"cls": CheckedCommand} | settings)


def refuse(needed: str, **given: object) -> None:
    """Refuse options that would do nothing.

    Raises:
        ConfigError: If one of them was given.
    """
    for name, value in given.items():
        if value:
            option = name.replace("_", "-")
            raise ConfigError(f"expected --{option} with {needed}; leave it out")


def with_default(
    command: Callable[..., None], text: str, *, without: str = "", **values: Any
) -> Callable[..., None]:
    """A command with another help text, other defaults, and maybe one parameter less."""

    @functools.wraps(command)
    def changed(**given: Any) -> None:
        command(**given)

    signature = inspect.signature(command)
    changed.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[
            each.replace(default=values.get(name, each.default))
            for name, each in signature.parameters.items()
            if name != without
        ]
    )
    changed.__doc__ = text
    return changed


def renamed(old: str, new: str) -> None:
    """Name the command that takes an old one's place; on the error output, for the other may be read."""
    typer.echo(f"{old} is now: {new}", err=True)


def require_files(name: str, paths: Sequence[Path]) -> None:
    """Refuse paths that a command is to read and cannot.

    Raises:
        DataError: If all of them are missing, or empty folders.
    """
    if not any(path.exists() or path.is_symlink() for path in paths):
        path = paths[0].absolute()
        folder = next(parent for parent in path.parents if parent.is_dir())
        wanted = path.relative_to(folder).parts[0]
        alike = difflib.get_close_matches(wanted, [entry.name for entry in folder.iterdir()], n=1)
        hint = f"did you mean {folder / alike[0]}?" if alike else f"{folder} has nothing of that name"
        argument = name.upper().replace("_", " ")
        raise DataError(f"expected {argument} at {paths[0]}, found nothing there; {hint}")
    if name not in MAY_BE_EMPTY and all(path.is_dir() and not any(path.iterdir()) for path in paths):
        raise DataError(f"expected files in {paths[0]}, found an empty folder; name the one that holds them")
