"""From a training run to the weights that the bundle ships."""

import shutil
from pathlib import Path
from typing import Literal

import torch

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path, output_folder
from pipelines.core.tasks import task_of
from pipelines.models.bundle import load_config
from pipelines.models.checkpoints import BEST_NAME, LAST_NAME, load_average, load_weights, save_weights
from pipelines.models.openvino_runtime import INT8_NAME
from pipelines.models.weights_sidecar import copy_beside

Which = Literal["best", "last"]


def publish_weights(
    run_dir: Path, network: str, *, which: Which = "best", bundle: Path | None = None
) -> Path:
    """Write the averaged weights of a run to the bundle in 16 bits; returns the file.

    Heads of deep supervision stay in, so that training can go on from the file. The threshold of
    the run, and the settings that its weights need, go beside it.

    Args:
        run_dir: Existing folder of the run.
        network: Network that the run trained, of one of the bundles.
        which: `"best"` takes the best validation, `"last"` the end of the run.
        bundle: Root folder of the bundle, by default the one that has the network;
            the file is `models/<network>/model.pt` in it.

    Raises:
        ConfigError: If the network is unknown, the run has no such checkpoint, it does not
            fit the network, or a weight is not finite or too large for 16 bits.
        OutputError: If the file cannot be written.
    """
    parser = load_config(network, bundle=bundle)
    module: torch.nn.Module = parser.get_parsed_content("network_def")
    if which == "best":
        load_weights(module, run_dir / BEST_NAME)
    else:
        load_average(module, run_dir / LAST_NAME)
    # Cast as a whole: weights that a network holds under several names stay one in the file.
    module.half()
    odd = [key for key, value in module.state_dict().items() if not torch.isfinite(value).all()]
    if odd:
        raise ConfigError(f"expected weights that fit 16 bits, found infinite ones in {run_dir}: {odd[:3]}")
    path = Path(parser.get_parsed_content("weights"))
    save_weights(module, path)
    copy_beside(run_dir, path.parent)
    return path


def publish_int8(folder: Path, network: str, *, bundle: Path | None = None) -> Path:
    """Copy an int8 model, with the threshold of a classifier, to the bundle; returns the file.

    Args:
        folder: Existing folder of `thorax benchmark int8` or `thorax export --int8`.
        network: Network of one of the bundles that was quantised.
        bundle: As for `publish_weights`; the file is `models/<network>/int8.xml` in it.

    Raises:
        ConfigError: If the network is unknown, or no int8 model of it is in the folder; a heart
            network's must be of the weights in the bundle.
        OutputError: If a file cannot be written.
    """
    weights = Path(load_config(network, bundle=bundle).get_parsed_content("weights"))
    task_of(network).find("check_int8")(folder / INT8_NAME, weights, network)
    target = output_folder(weights.parent)
    copy_beside(folder, target)
    for name in (Path(INT8_NAME).with_suffix(".bin").name, INT8_NAME):
        with atomic_path(target / name) as temporary:
            shutil.copyfile(folder / name, temporary)
    return target / INT8_NAME
