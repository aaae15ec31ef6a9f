"""Radiographs that clients send, classified and explained, and what readers say of them."""

import base64
import threading
from collections import OrderedDict
from collections.abc import Mapping
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipelines.core.errors import DataError
from pipelines.core.files import file_sha256, read_json, write_json
from pipelines.models.bundle import XRAY_BUNDLE, XRAY_NETWORKS
from pipelines.server.admission import check_picture
from pipelines.server.history import read_records, utc_now
from pipelines.server.predictors import bundle_version
from pipelines.server.worker import PARSER, Worker

Method = Literal["grad_cam", "integrated_gradients"]
"""Smooth for the eye, or exact in its sum."""

FILM_FIELDS: Final = ("probability", "threshold", "calibration_error", "decision", "heat_map")

Word = Literal["normal", "pneumonia", "unsure"]
"""What a reader calls a film."""

KEPT_FILMS: Final = 1000
"""Films whose classes are remembered, so that a reader can save a reading."""

LONGEST_SHOWN_PX: Final = 1024
"""Longer side of the pictures that are sent back."""

FOR_RGB: Final = (220, 38, 38)
AGAINST_RGB: Final = (37, 99, 235)
"""Colours of pixels that speak for pneumonia and against it."""


class XrayReader:
    """Classifies radiographs with the chest X-ray bundle, whose network is loaded when first needed.

    Args:
        worker: Process that runs the network.
        bundle: Root folder of the bundle, which need not have weights.
        device: `"auto"` or a torch device.
    """

    def __init__(self, worker: Worker, bundle: Path = XRAY_BUNDLE, device: str = "auto") -> None:
        self.bundle = bundle
        self.device = device
        self._worker = worker
        self._found: OrderedDict[str, dict[str, Any]] = OrderedDict()

    @property
    def is_ready(self) -> bool:
        """Whether the bundle has the weights of its default network."""
        return (self.bundle / "models" / XRAY_NETWORKS[0] / "model.pt").is_file()

    def read(self, path: Path, method: Method = "grad_cam") -> dict[str, Any]:
        """What is told of a radiograph, ready for JSON.

        Args:
            path: Existing JPEG, PNG or DICOM file that a client sent.
            method: How the heat map is made.

        Returns:
            `film`, the SHA-256 of the file, the `model` with its version, `warnings` about the image, and
            `picture`, it as PNG in base64. Of a frontal chest film also
            `probability` of pneumonia and `threshold`, 0 to 1; `calibration_error`, how far such
            probabilities were from the share of pneumonia in the test set on average, None if it was not
            measured; `decision`; and `heat_map`, what speaks for pneumonia in red and against it in blue on
            a clear ground, a PNG of the picture's size. These are None where the image is hardly one, as
            `classify_one` decides.

        Raises:
            ConfigError: If the weights do not fit.
            DataError: If it is no radiograph that can be read, or larger than `MAX_PIXELS`.
        """
        # Imported here: the server starts without them, and few of its clients send radiographs.
        from pipelines.datasets.xray_image import read_xray
        from pipelines.explanation.explain import relative_strength

        PARSER.call(check_picture, path)
        image = PARSER.call(read_xray, path)
        verdict: dict[str, Any] = dict.fromkeys(FILM_FIELDS)
        verdict["picture"] = _png(np.round(255 * image.pixels).astype(np.uint8))
        found, values = self._worker.call(_explained, self.bundle, self.device, path, image, method)
        verdict |= found | {
            "film": file_sha256(path),
            "model": f"{XRAY_NETWORKS[0]} {bundle_version(self.bundle)}",
        }
        pictures = ("picture", "heat_map", "film")
        self._found[verdict["film"]] = {name: verdict[name] for name in verdict if name not in pictures}
        self._found.move_to_end(verdict["film"])
        while len(self._found) > KEPT_FILMS:
            self._found.popitem(last=False)
        if values is not None:
            strength = relative_strength(values)
            colours = np.where(strength[..., None] > 0, FOR_RGB, AGAINST_RGB)
            alpha = np.round(255 * np.sqrt(np.abs(strength)))[..., None]
            verdict["heat_map"] = _png(np.concatenate([colours, alpha], axis=2).astype(np.uint8))
        return verdict

    def found(self, film: str) -> dict[str, Any]:
        """What `read` found on a film, without its pictures.

        Args:
            film: SHA-256 of its file.

        Raises:
            DataError: If it was not read since the start.
        """
        if (result := self._found.get(film)) is None:
            raise DataError("expected a film that was opened since the server's start; open it again")
        return result


class FilmReadings:
    """Readings of films, in `labels/films/<SHA-256>/` of the studies folder; none is ever replaced.

    Args:
        root: Studies folder.
    """

    def __init__(self, root: Path) -> None:
        self.folder = root / "labels" / "films"
        self._lock = threading.Lock()

    def save(self, film: str, author: str, said: Mapping[str, str], result: dict[str, Any]) -> dict[str, Any]:
        """Keep a reading.

        Args:
            film: SHA-256 of the film's file, which is not kept, as 64 hexadecimal digits.
            author: Who sent it.
            said: `name` of the file at the reader's, `word`, what the reader calls the film, `note`, `""` for
                none, and `method`, how the heat map was made that the reader saw.
            result: The network's: `model`, `decision`, `probability` and others; see `XrayReader.found`.

        Returns:
            All of these with `number`, counted from 1, of this film, and `time`, ISO 8601, UTC.

        Raises:
            OutputError: If it cannot be written.
        """
        with self._lock:
            number = max((one["number"] for one in self.history(film)), default=0) + 1
            about = {"number": number, "author": author, "time": utc_now(), "film": film}
            reading = {**about, **said, "result": result}
            write_json(self.folder / film / f"{number:04d}.json", reading)
            return reading

    def history(self, film: str) -> list[dict[str, Any]]:
        """All readings of a film, oldest first; see `save`."""
        return read_records(self.folder / film)


@cache
def _classifier(bundle: Path, device: str) -> Any:
    from pipelines.models.xray import Classifier

    return Classifier.load(bundle=bundle, device=device)


def _explained(
    bundle: Path, device: str, path: Path, image: Any, method: Method
) -> tuple[dict[str, Any], npt.NDArray[np.float32] | None]:
    """What is told of an `XrayImage` and its attribution; runs in the process of the networks."""
    from pipelines.explanation.explain import heat_map
    from pipelines.inference.classify import classify_one
    from pipelines.models.weights import OPERATING_POINT_NAME

    result = classify_one(path, image, _classifier(bundle, device))
    verdict: dict[str, Any] = {"warnings": list(result.warnings)}
    if result.decision is None:
        return verdict, None
    classifier = _classifier(bundle, device)
    known = read_json(classifier.weights.parent / OPERATING_POINT_NAME)
    verdict |= {
        "probability": round(result.probability, 4),
        "threshold": round(classifier.threshold, 4),
        "calibration_error": known.get("calibration_error"),
        "decision": result.decision,
    }
    return verdict, heat_map(image.pixels, method, classifier=classifier).values


def _png(pixels: npt.NDArray[np.uint8]) -> str:
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST_SHOWN_PX, LONGEST_SHOWN_PX))
    stream = BytesIO()
    picture.save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode("ascii")
