from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import ConfigError
from pipelines.core.records import AcdcLabel
from pipelines.datasets.loading import load_pair
from pipelines.datasets.nifti_releases import read_acdc
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.image import CONTRASTS, find_contrast


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Image and label of one heart at ED in each contrast."""
    pairs = {}
    for contrast in CONTRASTS:
        root = tmp_path_factory.mktemp(contrast)
        write_phantom_cohort(root, patients=1, frames=3, cine=False, contrast=contrast)
        image, label = load_pair(read_acdc(root).volumes[0])
        pairs[contrast] = image.array, label.array
    return pairs


def test_the_heart_and_its_labels_are_the_same_in_every_contrast(
    seen: dict[str, tuple[np.ndarray, np.ndarray]],
) -> None:
    labels = [label for _, label in seen.values()]
    assert all(np.array_equal(label, labels[0]) for label in labels)


def test_blood_over_muscle_is_what_the_contrast_says(seen: dict[str, tuple[np.ndarray, np.ndarray]]) -> None:
    ratio = {
        name: image[label == AcdcLabel.LV].mean() / image[label == AcdcLabel.MYO].mean()
        for name, (image, label) in seen.items()
    }
    assert ratio["dark-blood"] < 0.8 < 1.2 < ratio["low-contrast"] < ratio["cine"] < ratio["late-enhancement"]


def test_an_unknown_contrast_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected a contrast among cine, low-contrast"):
        find_contrast("t1")
    with pytest.raises(ConfigError, match="found 't1'"):
        write_phantom_cohort(tmp_path, contrast="t1")
