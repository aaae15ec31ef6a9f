"""Judges the segmentations of a network by the quality score that lies beside its weights."""

from pathlib import Path
from typing import Protocol

from pipelines.core.errors import ConfigError
from pipelines.core.volume import Volume
from pipelines.evaluation.segmentation import MEAN
from pipelines.models.bundle import ACDC_BUNDLE, load_config
from pipelines.models.predictor import Prediction, Predictor
from pipelines.quality.features import partner_features, quick_features
from pipelines.quality.model import QUALITY_NAME, QualityModels, quality_beside

Quality = dict[str, float]
"""Predicted Dice of `rv`, `myo` and `lv`, and their `mean`."""


class MaskPredictor(Protocol):
    """What finds the second mask."""

    def predict(self, volume: Volume, /) -> Prediction:
        """Segment one volume."""


class Judge:
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
    ) -> "Judge | None":
        """The judge whose file lies beside the weights of a network, None if there is none.

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

    def judge(self, volume: Volume, prediction: Prediction) -> Quality:
        """Predicted Dice of a segmentation.

        Args:
            volume: The image `(X, Y, Z)` that was segmented.
            prediction: Of the network that the models are of.
        """
        features = quick_features(prediction, volume)
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
