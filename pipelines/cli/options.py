"""Options that several commands of `thorax` share, and how they speak."""

from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.console import Console

console = Console()

AcdcNetwork = Literal["unet", "attention_unet", "vnet"]
XrayNetwork = Literal["resnet18_tuned", "efficientnet_lite0", "resnet18", "resnet34", "resnet50"]
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
Device = Annotated[str, typer.Option(help="auto, cpu or cuda:0.")]


def say(text: str) -> None:
    """Print as it is: paths and messages may hold brackets, and must not be broken into lines."""
    console.print(text, soft_wrap=True, highlight=False, markup=False)
