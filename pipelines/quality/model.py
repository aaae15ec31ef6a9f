"""The quality score: features of a segmentation, and a linear model from them to its Dice."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.core.errors import ConfigError, expecting
from pipelines.core.files import read_json, write_json
from pipelines.core.records import FOREGROUND, LABEL_NAMES, AcdcLabel
from pipelines.core.volume import Volume
from pipelines.evaluation.segmentation import MEAN, STRUCTURES, dice_coefficient
from pipelines.models.bundle import ACDC_BUNDLE, load_config
from pipelines.models.heart import Prediction, Predictor

Mask = npt.NDArray[np.uint8]

QUICK: Final = ("certainty",)
"""Feature of a prediction alone: the Dice that its probabilities promise; it costs no further network."""

THOROUGH: Final = ("certainty", "partner")
"""With the Dice of its mask and that of a second network."""

Features = dict[str, float]
"""Features by `feature_key`."""


def feature_key(feature: str, structure: str) -> str:
    """Name of a feature of a structure, e.g. `"partner_lv"`."""
    return f"{feature}_{structure}"


def quick_features(prediction: Prediction) -> Features:
    """Features of a prediction alone, for each structure by `feature_key`."""
    return {feature_key("certainty", LABEL_NAMES[one]): prediction.certainty[one] for one in FOREGROUND}


def partner_features(mask: Mask, second: Mask) -> Features:
    """Agreement with a second network, for each structure.

    Args:
        mask: `(X, Y, Z)` mask that is judged.
        second: Mask of the same image by another network.

    Returns:
        By `feature_key`: `partner`, Dice of the two masks.
    """
    return {
        feature_key("partner", LABEL_NAMES[structure]): agreement(mask, second, structure)
        for structure in FOREGROUND
    }


def agreement(first: Mask, second: Mask, structure: AcdcLabel) -> float:
    """Dice of one structure of two masks, 0 where neither has it: nothing found is no good sign."""
    return dice_coefficient(first == structure, second == structure) or 0.0


QUALITY_NAME: Final = "quality.json"
"""File beside the weights of the network that it judges."""

FORMAT: Final = 2
"""Version of its content."""

FLAGGED_BELOW: Final = 0.85
"""Mean Dice below which a segmentation is called bad."""

ENDS: Final = (0.01, 0.99)
"""Shares are kept within these before their log-odds are taken."""


@dataclass(frozen=True, slots=True)
class LinearModel:
    """Log-odds of the Dice of one structure as a linear function of the log-odds of its features."""

    weights: tuple[float, ...]
    intercept: float

    def dice(self, log_odds: tuple[float, ...]) -> float:
        """Predicted Dice, 0 to 1, at the log-odds of the features."""
        return from_log_odds(float(np.dot(log_odds, self.weights)) + self.intercept)


@dataclass(frozen=True, slots=True)
class QualityModel:
    """Predicts the Dice of each structure, and the mean of these.

    Attributes:
        features: Names of the features that it takes.
        structures: Model of each structure by name.
        threshold: Predicted mean Dice below which a segmentation is flagged.
    """

    features: tuple[str, ...]
    structures: Mapping[str, LinearModel]
    threshold: float = FLAGGED_BELOW

    def predict(self, features: Features) -> dict[str, float]:
        """Predicted Dice, 0 to 1, of `rv`, `myo` and `lv`, and their `mean`.

        Args:
            features: At least those that the model takes, of all structures.
        """
        dice = {
            name: model.dice(feature_log_odds(features, self.features, name))
            for name, model in self.structures.items()
        }
        return dice | {MEAN: sum(dice.values()) / len(dice)}


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
    write_json(path, {"format": FORMAT, **asdict(models)})


def read_quality(path: Path) -> QualityModels:
    """Models from a file of `write_quality`.

    Raises:
        ConfigError: If the file is missing, damaged or of another version.
    """
    wanted = f"the quality model of 'thorax quality fit' at {path}"
    with expecting(wanted, ConfigError, "fit it again, or delete the file"):
        content = read_json(path)
        if content["format"] != FORMAT:
            raise ValueError(f"format {content['format']}")
        thorough = content["thorough"]
        return QualityModels(
            quick=_model(content["quick"]),
            thorough=None if thorough is None else _model(thorough),
            partner=str(content["partner"]),
            made=dict(content["made"]),
        )


def quality_beside(weights: Path) -> QualityModels | None:
    """Models that lie beside the weights of a network, None if there are none.

    Raises:
        ConfigError: If the file is damaged.
    """
    path = weights.parent / QUALITY_NAME
    return read_quality(path) if path.is_file() else None


def feature_log_odds(features: Features, wanted: tuple[str, ...], structure: str) -> tuple[float, ...]:
    """Log-odds of the wanted features of one structure."""
    return tuple(to_log_odds(features[feature_key(name, structure)]) for name in wanted)


def to_log_odds(share: float) -> float:
    """Log-odds of a share, which is first kept within `ENDS`."""
    kept = float(np.clip(share, *ENDS))
    return float(np.log(kept / (1 - kept)))


def from_log_odds(log_odds: float) -> float:
    """Share, 0 to 1, of log-odds."""
    return float(1 / (1 + np.exp(-log_odds)))


def _model(content: dict[str, Any]) -> QualityModel:
    structures = {
        name: LinearModel(tuple(map(float, linear["weights"])), float(linear["intercept"]))
        for name, linear in content["structures"].items()
    }
    if set(structures) != set(STRUCTURES):
        raise ValueError(f"models of {sorted(structures)}")
    return QualityModel(tuple(content["features"]), structures, float(content["threshold"]))


Quality = dict[str, float]
"""Predicted Dice of `rv`, `myo` and `lv`, and their `mean`."""


class MaskPredictor(Protocol):
    """What finds the second mask."""

    def predict(self, volume: Volume, /) -> Prediction:
        """Segment one volume."""


class QualityEstimator:
    """Predicts the Dice of segmentations of one network, without their labels.

    Args:
        models: Quality models of that network.
        partner: Second network for the thorough model; None for the quick one.

    Raises:
        ConfigError: If a partner is given and there is no thorough model.
    """

    def __init__(self, models: QualityModels, partner: MaskPredictor | None = None) -> None:
        if partner is not None and models.thorough is None:
            raise ConfigError(
                "expected a quality model that takes a second network, found none; "
                "fit one with 'thorax quality fit --partner NAME', or leave out --quality"
            )
        self._model = models.thorough if partner is not None and models.thorough else models.quick
        self._partner = partner

    @classmethod
    def load(
        cls,
        network: str,
        *,
        weights: Path | None = None,
        thorough: bool = False,
        device: str = "auto",
        bundle: Path = ACDC_BUNDLE,
    ) -> "QualityEstimator | None":
        """The estimator whose file lies beside the weights of a network, None if there is none.

        Args:
            network: Network of the bundle.
            weights: File used instead of the bundle's own.
            thorough: Also segment with the second network that the file names, by the bundle's weights.
            device: Where that runs, `"auto"` or torch's name.
            bundle: Root folder of the bundle.

        Raises:
            ConfigError: If the file is damaged, or `thorough` is asked for and cannot be.
        """
        own = weights or Path(load_config(network, bundle=bundle).get_parsed_content("weights"))
        models = quality_beside(own)
        if models is None:
            if thorough:
                raise ConfigError(
                    f"expected {QUALITY_NAME} beside {own}, found none; make it with 'thorax quality fit'"
                )
            return None
        if not thorough:
            return cls(models)
        if models.thorough is None:
            raise ConfigError(
                f"expected a model with a second network in {own.parent / QUALITY_NAME}, found none; "
                "fit it again with --partner"
            )
        return cls(models, Predictor.load(models.partner, bundle=bundle, device=device))

    def estimate(self, volume: Volume, prediction: Prediction) -> Quality:
        """Predicted Dice of a segmentation.

        Args:
            volume: The image `(X, Y, Z)` that was segmented.
            prediction: Of the network that the models are of.
        """
        features = quick_features(prediction)
        if self._partner is not None:
            features |= partner_features(prediction.mask, self._partner.predict(volume).mask)
        return self._model.predict(features)

    def warning(self, quality: Quality) -> str | None:
        """A sentence for a low score, None if it is not low."""
        if quality[MEAN] >= self._model.threshold:
            return None
        return (
            f"predicted Dice of {quality[MEAN]:.2f} is low (below {self._model.threshold:.2f}), "
            "look at the mask before using its figures"
        )
