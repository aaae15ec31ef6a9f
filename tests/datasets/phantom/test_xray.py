from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipelines.core.errors import ConfigError
from pipelines.datasets.phantom.xray import phantom_xray, write_phantom_xrays
from pipelines.datasets.xray_image import Finding, read_chest_xray


def test_files_are_named_as_in_the_public_release(tmp_path: Path) -> None:
    paths = write_phantom_xrays(tmp_path, patients=6, side_px=64)
    dataset = read_chest_xray(tmp_path)
    assert sorted(record.image for record in dataset.records) == sorted(paths)
    assert dataset.problems == []
    assert {(record.finding, record.agent) for record in dataset.records} == {
        (Finding.NORMAL, ""),
        (Finding.PNEUMONIA, "bacteria"),
        (Finding.PNEUMONIA, "virus"),
    }


def test_the_same_seed_gives_the_same_files_and_another_gives_others(tmp_path: Path) -> None:
    written = [
        [
            path.read_bytes()
            for path in write_phantom_xrays(tmp_path / name, patients=4, seed=seed, side_px=48)
        ]
        for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert written[0] == written[1] != written[2]


@pytest.mark.parametrize("agent", ["bacteria", "virus"])
def test_pneumonia_brightens_the_lungs(agent: str) -> None:
    def mean_of_lungs(agent: str) -> float:
        images = [phantom_xray(np.random.default_rng(seed), agent, side_px=96) for seed in range(12)]
        return float(np.mean([image[25:60, 14:40] for image in images]))

    assert mean_of_lungs(agent) > mean_of_lungs("") + 0.01


def test_images_have_the_wanted_size(tmp_path: Path) -> None:
    path = write_phantom_xrays(tmp_path, patients=2, side_px=80)[0]
    assert Image.open(path).size == (80, 80)


def test_too_few_patients_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected at least 2 patients"):
        write_phantom_xrays(tmp_path, patients=1)
