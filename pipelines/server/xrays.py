"""Radiographs that clients send, classified and explained."""

import base64
import threading
from functools import cached_property
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.models.bundle import XRAY_BUNDLE, XRAY_NETWORKS
from pipelines.server.admission import check_picture
from pipelines.server.worker import PARSER

if TYPE_CHECKING:
    from pipelines.models.xray import Classifier

LONGEST_SHOWN_PX: Final = 1024
"""Longer side of the pictures that are sent back."""

FOR_RGB: Final = (220, 38, 38)
AGAINST_RGB: Final = (37, 99, 235)
"""Colours of pixels that speak for pneumonia and against it."""


class XrayReader:
    """Classifies radiographs with the chest X-ray bundle, whose network is loaded when first needed.

    Args:
        bundle: Root folder of the bundle, which need not have weights.
        device: `"auto"` or a torch device.
    """

    def __init__(self, bundle: Path = XRAY_BUNDLE, device: str = "auto") -> None:
        self.bundle = bundle
        self.device = device
        self._lock = threading.Lock()

    @property
    def is_ready(self) -> bool:
        """Whether the bundle has the weights of its default network."""
        return (self.bundle / "models" / XRAY_NETWORKS[0] / "model.pt").is_file()

    def read(self, path: Path) -> dict[str, Any]:
        """What is told of a radiograph, ready for JSON.

        Args:
            path: Existing JPEG, PNG or DICOM file that a client sent.

        Returns:
            `warnings` about the image, and `picture`, it as PNG in base64. Of a frontal chest film also
            `probability` of pneumonia and `threshold`, 0 to 1; `decision`; and `heat_map`, what speaks
            for pneumonia in red and against it in blue on a clear ground, a PNG of the picture's size.
            All four are None where the image is hardly one, as `classify_one` decides.

        Raises:
            ConfigError: If the weights do not fit.
            DataError: If it is no radiograph that can be read, or larger than `MAX_PIXELS`.
        """
        # Imported here: the server starts without them, and few of its clients send radiographs.
        from pipelines.datasets.xray_image import read_xray
        from pipelines.explanation.explain import heat_map, relative_strength
        from pipelines.inference.classify import classify_one

        PARSER.call(check_picture, path)
        image = PARSER.call(read_xray, path)
        told: dict[str, Any] = dict.fromkeys(("probability", "threshold", "decision", "heat_map"))
        told["picture"] = _png(np.round(255 * image.pixels).astype(np.uint8))
        with self._lock:
            result = classify_one(path, image, lambda: self._classifier)
            told["warnings"] = list(result.warnings)
            if result.probability is None:
                return told
            found = heat_map(image.pixels, classifier=self._classifier)
            threshold = self._classifier.threshold
        return told | {
            "probability": round(result.probability, 4),
            "threshold": round(threshold, 4),
            "decision": result.decision,
            "heat_map": _png(_coloured(relative_strength(found.values))),
        }

    @cached_property
    def _classifier(self) -> "Classifier":
        from pipelines.models.xray import Classifier

        return Classifier.load(bundle=self.bundle, device=self.device)


def _coloured(strength: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    """`(H, W, 4)` RGBA for `(H, W)` from -1, against pneumonia, to 1, for it."""
    colours = np.where(strength[..., None] > 0, FOR_RGB, AGAINST_RGB)
    alpha = np.round(255 * np.sqrt(np.abs(strength)))[..., None]
    return np.concatenate([colours, alpha], axis=2).astype(np.uint8)


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST_SHOWN_PX, LONGEST_SHOWN_PX))
    stream = BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
