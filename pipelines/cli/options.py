"""Options that several commands of `thorax` share, and how they speak."""

import difflib
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from rich.console import Console
from typer.core import TyperCommand

from pipelines.core.errors import DataError

console = Console()

AcdcNetwork = Literal["unet", "attention_unet", "vnet"]
XrayNetwork = Literal["efficientnet_lite0", "resnet18_tuned", "resnet18", "resnet34", "resnet50"]
Network = Literal[AcdcNetwork, "corrector", XrayNetwork]
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
Weights = Annotated[Path | None, typer.Option(help="Weights to use instead of the bundle's own.")]
Tta = Annotated[bool, typer.Option("--tta", help="Average over in-plane flips: slower, a little better.")]
Ensemble = Annotated[bool, typer.Option("--ensemble", help="Average all networks of the bundle.")]
Quality = Annotated[
    bool, typer.Option("--quality", help="Judge masks by a second network too: surer, but slower.")
]
BundleFolder = Annotated[
    Path | None, typer.Option("--bundle", help="Folder of another bundle than the package's own.")
]
TrustBundle = Annotated[
    bool,
    typer.Option("--trust", help="Vouch for the bundle's configs, which can run code; remembered."),
]
Engine = Annotated[
    Literal["pytorch", "openvino", "int8"],
    typer.Option(help="What runs the network: openvino and int8 are faster, and for CPUs only."),
]
UnseenOnly = Annotated[
    bool, typer.Option("--unseen-only", help="Leave out patients that the weights were trained on.")
]
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:0.")]


def say(text: str) -> None:
    """Print as it is: paths and messages may hold brackets, and must not be broken into lines."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)


WRITTEN = {"output", "page", "users"}
"""Parameters whose path a command writes; all others must be there before it starts."""


class CheckedCommand(TyperCommand):
    """A command that looks for its files before it imports anything heavy."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command.

        Raises:
            DataError: If a file or folder that it reads is missing; of several, if all are.
        """
        for name, value in ctx.params.items():
            paths = [path for path in (value if isinstance(value, list | tuple) else [value]) if path]
            if name in WRITTEN or not paths or not all(isinstance(path, Path) for path in paths):
                continue
            if not any(path.exists() or path.is_symlink() for path in paths):
                raise DataError(_missing(name, paths[0]))
        return super().invoke(ctx)


class App(typer.Typer):
    """A group of commands, all of them checked."""

    def command(self, name: str | None = None, **settings: Any) -> Any:
        """As Typer's, with `CheckedCommand`."""
        return super().command(name, **{"cls": CheckedCommand} | settings)


def _missing(name: str, path: Path) -> str:
    folder = next(parent for parent in path.absolute().parents if parent.is_dir())
    wanted = path.absolute().relative_to(folder).parts[0]
    alike = difflib.get_close_matches(wanted, [entry.name for entry in folder.iterdir()], n=1)
    hint = f"did you mean {folder / alike[0]}?" if alike else f"{folder} has nothing of that name"
    return f"expected {name.upper().replace('_', ' ')} at {path}, found nothing there; {hint}"
