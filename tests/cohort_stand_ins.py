"""A model that needs no network: it reads labels from intensities, and does as file names say."""

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from intensity_hearts import FakePrediction, heart, save

from pipelines.cohort.run import CohortOptions
from pipelines.core.errors import ConfigError

DEADLY = 4000.0
"""An intensity at which the process dies, as of a lack of memory."""

BROKEN = 3000.0
"""An intensity at which the predictor raises."""


class StandIn:
    """Takes intensities of about 100, 200 and 300 for RV, myocardium and LV."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def predict(self, volume: Any) -> FakePrediction:
        time.sleep(self.seconds)
        if volume.array.max() >= DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
        if volume.array.max() >= BROKEN:
            raise RuntimeError("no such heart")
        return FakePrediction(np.round(volume.array / 100).astype(np.uint8))


@dataclass(frozen=True)
class StandInModel:
    """Makes a `StandIn`, and notes in a folder that it was loaded."""

    seconds: float = 0.0
    name: str = "stand-in"
    loads: str = ""
    missing: bool = False

    def load(self) -> StandIn:
        if self.missing:
            raise ConfigError("expected weights, found none")
        if self.loads:
            (Path(self.loads) / f"{os.getpid()}-{time.monotonic_ns()}").touch()
        return StandIn(self.seconds)

    def record(self) -> dict[str, str]:
        return {"networks": self.name, "weights_sha256": "0", "settings": "{}"}


def write_hearts(
    folder: Path, count: int, *, deadly: tuple[int, ...] = (), broken: tuple[int, ...] = ()
) -> None:
    """Cines of two frames, `heart000.nii` and so on, some of which the stand-in cannot do."""
    for number in range(count):
        cine = np.stack([heart(radius) for radius in (8, 5)], axis=3)
        if number in deadly:
            cine[0, 0, 0] = DEADLY
        if number in broken:
            cine[0, 0, 0] = BROKEN
        save(folder / f"heart{number:03d}.nii", cine)


ONE = CohortOptions(workers=1)
