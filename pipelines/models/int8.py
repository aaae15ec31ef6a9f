"""The int8 model of a chest X-ray network, run by OpenVINO."""

from collections.abc import Callable
from pathlib import Path

import torch

from pipelines.core.errors import ConfigError
from pipelines.models.bundle import XRAY_BUNDLE, XRAY_NETWORKS, load_config
from pipelines.models.classifier import XrayModel
from pipelines.models.openvino_runtime import INT8_NAME, compiled
from pipelines.models.weights_sidecar import read_network


class Int8Classifier(XrayModel):
    """A network in 8-bit integers, ready to classify radiographs; runs on CPUs.

    Args:
        model: OpenVINO's `.xml` file, with its `.bin` beside it.
        resize: As for `XrayModel`.
        to_input: As for `XrayModel`.
        threshold: Probability from which pneumonia is decided; by default the one beside the model.

    Raises:
        ConfigError: If OpenVINO is not installed, or the model is missing or cannot be run.
    """

    def __init__(
        self,
        model: Path,
        *,
        resize: Callable[[torch.Tensor], torch.Tensor],
        to_input: Callable[[torch.Tensor], torch.Tensor],
        threshold: float | None = None,
    ) -> None:
        super().__init__(resize=resize, to_input=to_input, folder=model.parent, threshold=threshold)
        if not model.is_file():
            raise ConfigError(
                f"expected an int8 model at {model}, found none; make it by thorax benchmark int8"
            )
        self._run = compiled(model)

    @classmethod
    def load(
        cls,
        network: str = XRAY_NETWORKS[0],
        *,
        bundle: Path = XRAY_BUNDLE,
        model: Path | None = None,
        threshold: float | None = None,
    ) -> "Int8Classifier":
        """The int8 model of a network of the bundle.

        Args:
            network: One of `XRAY_NETWORKS`.
            bundle: Root folder of the bundle.
            model: File to use instead of the bundle's own, with the size that lies beside it.
            threshold: As for the class.

        Raises:
            ConfigError: If the network is unknown, and as for the class.
        """
        settings = read_network(model.parent, network) if model else {}
        get = load_config(network, bundle=bundle, **settings).get_parsed_content
        return cls(
            model or Path(get("weights")).with_name(INT8_NAME),
            resize=get("resize"),
            to_input=get("to_input"),
            threshold=threshold,
        )

    def logits(self, batch: torch.Tensor) -> torch.Tensor:
        """As for `XrayModel`."""
        return self._run(batch)


def check_int8_classifier(path: Path, weights: Path, network: str) -> None:
    """Refuse an int8 model of a classifier that is missing or does not fit the network.

    Args:
        path: `int8.xml`, with the settings and the threshold that lie beside it.
        weights: The bundle's own, which may be others: an int8 model is compared when it is made.
        network: Network that it is of.

    Raises:
        ConfigError: If so, or if OpenVINO is not installed.
    """
    Int8Classifier.load(network, model=path)
