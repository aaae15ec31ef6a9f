"""Masks of training patients by networks that have not seen them: the mistakes a corrector meets in use."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_json
from pipelines.core.progress import Progress
from pipelines.core.volume import read_volume, write_label
from pipelines.datasets.prepare import DATALIST_NAME, fingerprint, load_or_prepare, select
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.checkpoints import LAST_NAME
from pipelines.models.predictor import Predictor
from pipelines.training.launch import train_network

HALVES: Final = 2
"""Parts of the training patients: each is segmented by the network that is trained on the rest."""

MASK_KEY: Final = "mask"


def write_unseen_masks(
    network: str,
    dataset_dir: Path,
    output: Path,
    *,
    fold: int = 0,
    resume: bool = False,
    overlays: Sequence[str] = (),
    progress: Progress | None = None,
    bundle: Path = ACDC_BUNDLE,
    **settings: Any,
) -> list[Path]:
    """Train a network on either half of the training patients and segment the other half with it.

    That half also validates. To choose no weights by it, validate once, at the end: `val_interval` as
    large as `max_epochs`.

    Args:
        network: Network of the ACDC bundle.
        dataset_dir: Existing folder: a prepared one, or one with the raw data.
        output: Folder for the masks, with the two runs in `run_0` and `run_1`; made if it does not exist.
        fold: Fold that validates later and the hold-out are left out: 0 to 4.
        resume: Go on where a run in `output` ended.
        overlays: Further configuration files of the training, without `.yaml`.
        progress: Told of the steps of the training.
        bundle: Root folder of the bundle.
        **settings: Values that replace those of the training's configuration.

    Returns:
        The masks, `(X, Y, Z)` uint8 on their images' grids, named as `mask_path` says.

    Raises:
        ConfigError: As for `train_network`.
        DataError: If the data cannot be used, or there are no two patients to train on.
        OutputError: If `output` cannot be written.
    """
    output_folder(output)
    datalist = load_or_prepare(dataset_dir, output)
    items = select(datalist, "training", fold)
    written = []
    for number, half in enumerate(_halves(items)):
        run = output / f"run_{number}"
        # The half that is segmented is the fold that validates.
        volumes = [item | {"part": int(item["patient"] not in half)} for item in items]
        write_json(output_folder(run) / DATALIST_NAME, datalist | {"volumes": volumes})
        best = train_network(
            network,
            run,
            run,
            resume=resume and (run / LAST_NAME).is_file(),
            overlays=overlays,
            progress=progress,
            bundle=bundle,
            **settings,
        )
        predictor = Predictor.load(network, bundle=bundle, weights=best)
        for item in volumes:
            if item["part"] == 0:
                volume = read_volume(Path(item["image"]))
                written.append(mask_path(output, item["image"]))
                write_label(written[-1], predictor.predict(volume).mask, volume.affine)
    return written


def mask_path(folder: Path, image: str | Path) -> Path:
    """Where the mask of an image is: the image's own name, in `folder`."""
    return folder / Path(image).name


def with_unseen_masks(items: Sequence[Mapping[str, Any]], folder: str | Path | None) -> list[dict[str, Any]]:
    """Items of a datalist with the path of their mask as `mask`; as they are if `folder` is None.

    The mask counts in the fingerprint, so that a cache notices when it changes.

    Args:
        items: With `image` and `fingerprint`.
        folder: Folder of `write_unseen_masks`.

    Raises:
        DataError: If the mask of an image is missing.
    """
    if folder is None:
        return [dict(item) for item in items]
    return list(_with_masks(items, Path(folder)))


def _with_masks(items: Sequence[Mapping[str, Any]], folder: Path) -> Iterator[dict[str, Any]]:
    for item in items:
        path = mask_path(folder, item["image"])
        if not path.is_file():
            raise DataError(
                f"expected a mask of {item['image']} at {path}, found none; make those of the same fold "
                "with 'thorax unseen-masks'"
            )
        yield {**item, MASK_KEY: str(path), "fingerprint": item["fingerprint"] + fingerprint(path)}


def _halves(items: Sequence[Mapping[str, Any]]) -> list[set[str]]:
    """Patients dealt in turn, by fold and group, so that both halves have all groups."""
    patients = {item["patient"]: (item["group"], item["part"], item["patient"]) for item in items}
    order = sorted(patients, key=lambda name: patients[name])
    if len(order) < HALVES:
        raise DataError(f"expected at least {HALVES} patients to train on, found {len(order)}; give more")
    return [set(order[number::HALVES]) for number in range(HALVES)]
