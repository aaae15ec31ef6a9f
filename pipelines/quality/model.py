"""The quality score: a linear model from features of a segmentation to its Dice, kept as plain JSON."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from pipelines.core.errors import ConfigError, cause
from pipelines.core.files import write_json
from pipelines.evaluation.segmentation import MEAN, STRUCTURES
from pipelines.quality.features import Features, feature_key

QUALITY_NAME: Final = "quality.json"
"""File beside the weights of the network that it judges."""

FLAGGED_BELOW: Final = 0.85
"""Mean Dice below which a segmentation is called bad."""

ENDS: Final = (0.01, 0.99)
"""Shares are kept within these before their log-odds are taken."""

SHARES: Final = ("certainty", "neighbours", "partner")
"""Features that are shares, 0 to 1."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Dice of one structure as a linear function of standardised features.

    Attributes:
        mean: Mean of each feature where the model was fitted.
        scale: Standard deviation of each feature there, not 0.
        weights: Change of the outcome with one standard deviation.
        intercept: Outcome at the means.
    """

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]
    intercept: float

    def outcome(self, values: tuple[float, ...]) -> float:
        """The linear function at the values of the features."""
        standard = (np.asarray(values) - self.mean) / self.scale
        return float(standard @ np.asarray(self.weights) + self.intercept)


@dataclass(frozen=True, slots=True)
class QualityModel:
    """Predicts the Dice of each structure, and the mean of these.

    Attributes:
        features: Names of the features that it takes.
        log_odds: Whether shares, and the Dice, enter as their log-odds.
        structures: Model of each structure by name.
        threshold: Predicted mean Dice below which a segmentation is flagged.
    """

    features: tuple[str, ...]
    log_odds: bool
    structures: Mapping[str, LinearModel]
    threshold: float = FLAGGED_BELOW

    def predict(self, features: Features) -> dict[str, float]:
        """Predicted Dice, 0 to 1, of `rv`, `myo` and `lv`, and their `mean`.

        Args:
            features: At least those that the model takes, of all structures.
        """
        dice = {
            name: self._dice(model.outcome(feature_values(features, self.features, name, self.log_odds)))
            for name, model in self.structures.items()
        }
        return dice | {MEAN: sum(dice.values()) / len(dice)}

    def _dice(self, outcome: float) -> float:
        return from_log_odds(outcome) if self.log_odds else float(np.clip(outcome, 0.0, 1.0))


@dataclass(frozen=True, slots=True)
class QualityModels:
    """The models of one network.

    Attributes:
        quick: Takes a prediction alone.
        thorough: Takes the agreement with `partner` too, or None.
        partner: Network whose agreement the thorough model takes, `""` if there is none.
        made: How they were made: data, settings, figures.
    """

    quick: QualityModel
    thorough: QualityModel | None = None
    partner: str = ""
    made: Mapping[str, Any] = field(default_factory=dict)


def write_quality(path: Path, models: QualityModels) -> None:
    """Write models as JSON.

    Raises:
        OutputError: If it cannot be written.
    """
    write_json(path, {"format": 1, **asdict(models)})


def read_quality(path: Path) -> QualityModels:
    """Models from a file of `write_quality`.

    Raises:
        ConfigError: If the file is missing, damaged or of another version.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        thorough = content["thorough"]
        return QualityModels(
            quick=_model(content["quick"]),
            thorough=None if thorough is None else _model(thorough),
            partner=str(content["partner"]),
            made=dict(content["made"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"expected the quality model of 'thorax quality fit' at {path}, found {cause(error)}; fit it"
        ) from error


def quality_beside(weights: Path) -> QualityModels | None:
    """Models that lie beside the weights of a network, None if there are none.

    Raises:
        ConfigError: If the file is damaged.
    """
    path = weights.parent / QUALITY_NAME
    return read_quality(path) if path.is_file() else None


def feature_values(
    features: Features, wanted: tuple[str, ...], structure: str, log_odds: bool
) -> tuple[float, ...]:
    """Values of features of one structure, shares as their log-odds if wanted."""
    values = ((name, features[feature_key(name, structure)]) for name in wanted)
    return tuple(to_log_odds(value) if log_odds and name in SHARES else value for name, value in values)


def to_log_odds(share: float) -> float:
    """Log-odds of a share, which is first kept within `ENDS`."""
    kept = float(np.clip(share, *ENDS))
    return float(np.log(kept / (1 - kept)))


def from_log_odds(log_odds: float) -> float:
    """Share, 0 to 1, of log-odds."""
    return float(1 / (1 + np.exp(-log_odds)))


def _model(content: dict[str, Any]) -> QualityModel:
    structures = {
        name: LinearModel(
            mean=tuple(map(float, linear["mean"])),
            scale=tuple(map(float, linear["scale"])),
            weights=tuple(map(float, linear["weights"])),
            intercept=float(linear["intercept"]),
        )
        for name, linear in content["structures"].items()
    }
    if set(structures) != set(STRUCTURES):
        raise ValueError(f"models of {sorted(structures)}")
    return QualityModel(
        tuple(content["features"]), bool(content["log_odds"]), structures, float(content["threshold"])
    )
