"""The commands of `thorax` for hearts and radiographs alike: the network or the input says which they are."""

from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.cli.errors import analyse_hearts, show_features
from pipelines.cli.heart import evaluate_hearts
from pipelines.cli.options import (
    BundleFolder,
    Device,
    Engine,
    Ensemble,
    Fold,
    ImageNetwork,
    LabelMeaning,
    Output,
    ReaderName,
    SplitPart,
    TrustBundle,
    Tta,
    UnseenOnly,
    Weights,
    keeps_results,
)
from pipelines.cli.xray import (
    Method,
    Threshold,
    analyse_radiographs,
    evaluate_radiographs,
    explain_radiographs,
    study_explanations,
)
from pipelines.core.errors import ConfigError
from pipelines.core.manifest import MANIFEST_NAME
from pipelines.core.tasks import HEART, XRAY, task_of

EVALUATION_MARK = "metrics.json"
"""File that tells the folder of an evaluation from one with images."""


@keeps_results
def evaluate(
    root: Annotated[
        Path, typer.Argument(help="Labelled folder of a dataset, or a prepared one of 'thorax prepare'.")
    ],
    output: Output,
    network: ImageNetwork = "unet",
    weights: Weights = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    reader: ReaderName = "acdc",
    label_values: LabelMeaning = None,
    tta: Tta = False,
    ensemble: Ensemble = False,
    engine: Engine = "pytorch",
    precision: Annotated[
        Literal["auto", "bf16", "fp32"], typer.Option(help="auto is bf16 where the machine has it.")
    ] = "auto",
    threshold: Threshold = None,
    unseen_only: UnseenOnly = False,
    device: Device = "auto",
    bundle: BundleFolder = None,
    trust: TrustBundle = False,
) -> None:
    """Measure a network: Dice, volumes and EF of hearts, accuracy, AUROC and calibration of radiographs."""
    if task_of(network) is XRAY:
        _refuse(
            f"a network of hearts, found {network}",
            fold=fold,
            reader=reader != "acdc",
            label_values=label_values,
            tta=tta,
            ensemble=ensemble,
            engine=engine != "pytorch",
            precision=precision != "auto",
            bundle=bundle,
            trust=trust,
        )
        evaluate_radiographs(
            root, output, network, weights, threshold, section, unseen_only=unseen_only, device=device
        )
        return
    _refuse(f"a network of radiographs, found {network}", threshold=threshold)
    evaluate_hearts(
        root,
        output,
        network,
        weights,
        section,
        fold,
        reader,
        label_values,
        tta=tta,
        ensemble=ensemble,
        engine=engine,
        precision=precision,
        unseen_only=unseen_only,
        device=device,
        bundle=bundle,
        trust=trust,
    )


@keeps_results
def analyse(
    root: Annotated[
        Path,
        typer.Argument(
            help="Of hearts: labelled folder of a dataset, or a prepared one. Of radiographs: folder of "
            "'thorax evaluate'."
        ),
    ],
    output: Output,
    network: ImageNetwork = "unet",
    weights: Weights = None,
    section: SplitPart = "test",
    fold: Fold = 0,
    reader: ReaderName = "acdc",
    worst: Annotated[int, typer.Option(help="Volumes in the gallery of failures.", min=1)] = 5,
    tta: Tta = False,
    ensemble: Ensemble = False,
    device: Device = "auto",
) -> None:
    """Show where a network fails: slices, factors, uncertainty of hearts, or misclassified radiographs."""
    if (root / EVALUATION_MARK).is_file():
        what = "a labelled folder, found an evaluation"
        _refuse(what, weights=weights, fold=fold, reader=reader != "acdc", tta=tta, ensemble=ensemble)
        analyse_radiographs(root, output)
        return
    if task_of(network) is XRAY:
        raise ConfigError(
            f"expected a folder of 'thorax evaluate' on radiographs, found no {EVALUATION_MARK} in {root}"
        )
    analyse_hearts(
        root,
        output,
        network,
        weights,
        section,
        fold,
        reader,
        worst,
        tta=tta,
        ensemble=ensemble,
        device=device,
    )


@partial(keeps_results, marks=(MANIFEST_NAME, "0*1_*.png"))
def explain(
    inputs: Annotated[
        list[Path],
        typer.Argument(
            help="Radiographs (JPEG, PNG, TIFF, BMP, WebP, DICOM) or folders of them; the folder of their "
            "'thorax evaluate'; or, with a network of hearts, a NIfTI file of one frame."
        ),
    ],
    output: Output,
    method: Annotated[Method, typer.Option(help="Attribution method.")] = "integrated_gradients",
    network: ImageNetwork = "efficientnet_lite0",
    weights: Weights = None,
    threshold: Threshold = None,
    of_each: Annotated[int, typer.Option(help="Of an evaluation: wrong images, and right ones.", min=1)] = 5,
    seed: Annotated[int, typer.Option(help="Of an evaluation: seed of the right images drawn.")] = 0,
    layer: Annotated[
        list[str] | None,
        typer.Option(help="Of hearts: layer to show, repeatable; by default the last of each resolution."),
    ] = None,
    slice_number: Annotated[
        int | None,
        typer.Option("--slice", help="Of hearts: slice to show, counted from 1; by default the middle one."),
    ] = None,
    device: Device = "auto",
) -> None:
    """Show which pixels count for pneumonia; wrong and right images of an evaluation; layers of a network."""
    of_hearts = task_of(network) is HEART
    is_evaluation = (inputs[0] / EVALUATION_MARK).is_file()
    if (of_hearts or is_evaluation) and len(inputs) > 1:
        raise ConfigError(f"expected one input, found {len(inputs)}; explain them one by one")
    if not of_hearts:
        _refuse(f"a network of hearts, found {network}", layer=layer, slice=slice_number)
    if of_hearts:
        show_features(inputs[0], output, network, weights, layer, slice_number, device)
    elif is_evaluation:
        study_explanations(inputs[0], output, network, weights, of_each, seed)
    else:
        explain_radiographs(inputs, output, method, network, weights, threshold, device)


def _refuse(needed: str, **given: object) -> None:
    """Refuse options that would do nothing.

    Raises:
        ConfigError: If one of them was given.
    """
    for name, value in given.items():
        if value:
            option = name.replace("_", "-")
            raise ConfigError(f"expected --{option} with {needed}; leave it out")
