"""The model of a cohort: how each worker gets it, and what tells one model from another."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipelines.core.errors import ConfigError
from pipelines.inference.segment import MaskPredictor
from pipelines.models.bundle import NETWORKS, load_config

if TYPE_CHECKING:
    from pipelines.models.engines import Engine


class ModelSource(Protocol):
    """Anything that another process can make a predictor of; it is pickled."""

    def load(self) -> MaskPredictor:
        """The predictor, loaded here."""

    def record(self) -> Mapping[str, str]:
        """What the results say of it: `networks`, `weights_sha256` and `settings`."""


@dataclass(frozen=True, slots=True)
class BundleModel:
    """Networks of the ACDC bundle.

    Attributes:
        networks: Their names; the probabilities of several are averaged.
        weights: File that each worker can read instead of the bundle's own; only with one network.
        tta: Average over in-plane flips.
        device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
        precision: `"auto"`, `"bf16"` or `"fp32"`.
        engine: What runs the networks; all but PyTorch are for CPUs.
    """

    networks: tuple[str, ...] = NETWORKS[:1]
    weights: Path | None = None
    tta: bool = False
    device: str = "auto"
    precision: str = "auto"
    engine: "Engine" = "pytorch"

    def load(self) -> MaskPredictor:
        """The predictor.

        Raises:
            ConfigError: If a network is unknown, weights are missing or do not fit, or the engine cannot
                run them.
        """
        from pipelines.models.predictor import Predictor

        return Predictor.load(
            self.networks,
            weights=self.weights,
            tta=self.tta,
            device=self.device,
            precision=self.precision,
            engine=self.engine,
        )

    def record(self) -> dict[str, str]:
        """Names, checksums of the weight files in that order, and what else changes a mask.

        Raises:
            ConfigError: If weights are missing.
        """
        files = [
            self.weights or Path(load_config(network).get_parsed_content("weights"))
            for network in self.networks
        ]
        return {
            "networks": " ".join(self.networks),
            "weights_sha256": " ".join(_sha256(path) for path in files),
            "settings": json.dumps({"tta": self.tta, "precision": self.precision, "engine": self.engine}),
        }


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise ConfigError(
            f"expected weights at {path}, found {error.strerror}; train or fetch them"
        ) from error
