"""Models to compare: what they are made of, what they cost, and their evaluation on the same patients."""

import hashlib
import json
import re
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pipelines.core.errors import ConfigError
from pipelines.core.files import only_one, output_folder
from pipelines.core.manifest import MANIFEST_NAME, write_manifest
from pipelines.core.progress import Progress
from pipelines.core.records import PatientRecord
from pipelines.core.volume import read_volume
from pipelines.evaluation.cases import Case, read_cases
from pipelines.evaluation.evaluate import evaluate
from pipelines.evaluation.memory import cost_of_predicting
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, device_settings, load_config
from pipelines.models.member import Member
from pipelines.models.predictor import Predictor

METRICS_NAME: Final = "metrics.json"
LOCK_NAME: Final = "running"
TTA: Final = "tta"


@dataclass(frozen=True, slots=True)
class Model:
    """A network or the mean of several, as `NAME=NETWORK[:WEIGHTS][+...][+tta]` says.

    Attributes:
        name: What tables call it, and its folder.
        parts: Network and weights of each member; None stands for the bundle's own weights.
        tta: Whether in-plane flips are averaged.
    """

    name: str
    parts: tuple[tuple[str, Path | None], ...]
    tta: bool

    @classmethod
    def parse(cls, text: str) -> "Model":
        """Model from a text such as `mean=unet:runs/unet/best.pt+vnet+tta`.

        Raises:
            ConfigError: If the text has another form, a network is unknown, or weights are missing.
        """
        name, sign, rest = text.partition("=")
        parts = [part for part in rest.split("+") if part != TTA]
        if not sign or not re.fullmatch(r"[\w.-]+", name) or not parts:
            raise ConfigError(
                f"expected a model such as both=unet:runs/unet/best.pt+vnet+tta, found {text!r}; "
                "a name has letters, digits, '_', '-' and '.'"
            )
        members = []
        for part in parts:
            network, _, weights = part.partition(":")
            if network not in NETWORKS:
                raise ConfigError(
                    f"expected a network among {', '.join(NETWORKS)} in {text!r}, found {network!r}"
                )
            if weights and not Path(weights).is_file():
                raise ConfigError(
                    f"expected weights at {weights}, found none; train them or name another file"
                )
            members.append((network, Path(weights) if weights else None))
        return cls(name, tuple(members), TTA in rest.split("+"))

    @property
    def text(self) -> str:
        """The form that `parse` reads."""
        parts = [f"{network}:{weights}" if weights else network for network, weights in self.parts]
        return f"{self.name}={'+'.join([*parts, TTA] if self.tta else parts)}"

    def predictor(self, *, device: str = "auto") -> Predictor:
        """The model, ready to segment; members of one network are told apart by their number.

        Raises:
            ConfigError: If weights do not fit.
        """
        settings = device_settings(device, "auto")
        members = {
            f"{network}_{number}": Member.load(network, bundle=ACDC_BUNDLE, weights=weights, **settings)
            for number, (network, weights) in enumerate(self.parts)
        }
        return Predictor(members, tta=self.tta)

    def description(self) -> dict[str, Any]:
        """What the model is: `networks`, `tta`, `parameters` of all members, and hashes of `weights`."""
        return {
            "networks": [network for network, _ in self.parts],
            "tta": self.tta,
            "parameters": sum(parameters_of(network) for network, _ in self.parts),
            "weights": [_hash(weights or _own_weights(network)) for network, weights in self.parts],
        }


def predict_twice(model: str, image: str, device: str) -> dict[str, float]:
    """Segment an image twice; `cpu_seconds` is the processor time of the second prediction in s."""
    predictor, volume = Model.parse(model).predictor(device=device), read_volume(Path(image))
    predictor.predict(volume)
    start = time.process_time()
    predictor.predict(volume)
    return {"cpu_seconds": time.process_time() - start}


def described_weights(networks: Sequence[str], weights: Path | None, bundle: Path) -> dict[str, Any]:
    """What a manifest records of the networks that an evaluation measures.

    Args:
        networks: Networks of a bundle.
        weights: File given for them; the bundle's own without it.
        bundle: Root folder of the bundle.

    Returns:
        `networks`, `parameters` of all of them, hashes of `weights`, and `bundle_weights`.
    """
    modules = [load_config(name, bundle=bundle).get_parsed_content("network_def") for name in networks]
    return {
        "networks": list(networks),
        "parameters": sum(weight.numel() for module in modules for weight in module.parameters()),
        "weights": [_hash(weights or _own_weights(name, bundle)) for name in networks],
        "bundle_weights": weights is None,
    }


def parameters_of(network: str) -> int:
    """Number of weights of a network of the ACDC bundle, heads of deep supervision included."""
    module = load_config(network).get_parsed_content("network_def")
    return sum(weight.numel() for weight in module.parameters())


def evaluate_models(
    models: Sequence[Model],
    records: Sequence[PatientRecord],
    output: Path,
    *,
    root: Path,
    device: str = "auto",
    progress: Progress | None = None,
) -> dict[str, Path]:
    """Measure models that were not measured yet, each into a folder of its name.

    Beside what `thorax evaluate` writes, the manifest of each has what the model is and what
    predicting the largest of the images costs, measured in a process of its own.

    Args:
        models: Of different names.
        records: Labelled patients to measure them on.
        output: Folder for the folders; made if it does not exist.
        root: Folder that the records come from, for messages.
        device: `"auto"`, or a torch device.
        progress: Told of the volumes.

    Returns:
        Folder of each model by its name.

    Raises:
        ConfigError: If two models have one name, or a folder holds another model or other patients.
        DataError: If nothing can be evaluated.
        OutputError: If results cannot be written.
    """
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ConfigError(f"expected models of different names, found {names}")
    volumes = [volume for record in records for volume in record.volumes if volume.label is not None]
    largest = max((volume.image for volume in volumes), key=lambda path: path.stat().st_size, default=None)
    patients = hashlib.sha256(
        " ".join(f"{volume.patient}_{volume.phase}" for volume in volumes).encode()
    ).hexdigest()[:16]
    folders = {model.name: output / model.name for model in models}
    for model in models:
        folder = output_folder(folders[model.name])
        with only_one(folder / LOCK_NAME, f"evaluation of {model.name}"):
            described = model.description() | {"volumes_hash": patients}
            if _is_there(folder, described):
                continue
            tell = _named(progress, model.name)
            predictor = model.predictor(device=device)
            evaluate(root, folder, predictor, records=records, seen=predictor.seen, progress=tell)
            cost = cost_of_predicting(model.text, largest, device) if largest else {}
            outputs = [METRICS_NAME, "metrics.csv", "overlays"]
            own = all(weights is None for _, weights in model.parts)
            write_manifest(folder, **described, bundle_weights=own, model=model.text, **cost, outputs=outputs)
    return folders


def read_evaluation(folder: Path) -> tuple[list[Case], dict[str, Any]]:
    """Cases of an evaluation, and what its model costs.

    Args:
        folder: Of `thorax evaluate`, `thorax compare` or `thorax cross-validate`.

    Returns:
        The cases, and `parameters`, `seconds_per_volume`, `threads`, `cpu_seconds` and `peak_mb`, as far
        as the manifest tells.

    Raises:
        DataError: If there are no cases.
    """
    metrics, crossed = folder / METRICS_NAME, folder / "cross_validation.json"
    cases = read_cases(crossed if crossed.is_file() and not metrics.is_file() else metrics)
    path = folder / MANIFEST_NAME
    told = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    networks = told.get("networks") or [name for name in [told.get("network")] if name]
    counted = sum(map(parameters_of, networks)) if networks else None
    cost = {"parameters": counted} | {
        name: told[name] for name in ("parameters", "threads", "cpu_seconds", "peak_mb") if name in told
    }
    return cases, cost | {"seconds_per_volume": statistics.median(case.seconds for case in cases)}


def _is_there(folder: Path, described: dict[str, Any]) -> bool:
    """Whether the model was measured; its manifest is written last."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return False
    found = json.loads(path.read_text(encoding="utf-8"))
    other = [name for name, value in described.items() if found.get(name) != value]
    if other:
        raise ConfigError(
            f"expected the same model on the same patients in {folder}, found other {', '.join(other)}; "
            "give the model another name, or choose another folder by --output"
        )
    return True


def _named(progress: Progress | None, name: str) -> Progress | None:
    if progress is None:
        return None
    return lambda done, total, text: progress(done, total, f"{name}: {text}")


def _own_weights(network: str, bundle: Path = ACDC_BUNDLE) -> Path:
    return Path(load_config(network, bundle=bundle).get_parsed_content("weights"))


def _hash(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()[:16]
