"""A phantom heart in small, and a corrector whose weights are random."""

from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core.volume import Volume
from pipelines.interaction.clicks import Mask
from pipelines.interaction.corrector import Corrector
from pipelines.models.bundle import CORRECTOR, load_config
from pipelines.models.weights import save_weights


@pytest.fixture(scope="session")
def heart() -> tuple[Volume, Mask]:
    """`(72, 64, 4)` image at 1.5 x 1.5 x 8 mm and its label map: LV within MYO beside RV."""
    rows, columns = np.ogrid[:72, :64]
    radius = np.hypot(rows - 36, columns - 28)
    truth = np.zeros((72, 64, 4), dtype=np.uint8)
    for z in range(4):
        truth[:, :, z][np.hypot(rows - 36, columns - 44) < 12 - z] = 1
        truth[:, :, z][radius < 15 - z] = 2
        truth[:, :, z][radius < 9 - z] = 3
    noise = np.random.default_rng(0).normal(0, 3, truth.shape)
    array = (np.array([20, 120, 50, 140])[truth] + noise).astype(np.float32)
    affine = np.diag([1.5, 1.5, 8.0, 1.0])
    affine[:3, 3] = (-40, 25, 10)
    return Volume(array, affine, (1.5, 1.5, 8.0)), truth


@pytest.fixture(scope="session")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Weights of the corrector as they are drawn."""
    path = tmp_path_factory.mktemp("corrector") / "model.pt"
    torch.manual_seed(0)
    save_weights(load_config(CORRECTOR).get_parsed_content("network_def"), path)
    return path


@pytest.fixture(scope="session")
def corrector(random_weights: Path) -> Corrector:
    return Corrector.load(weights=random_weights, device="cpu", precision="fp32")
