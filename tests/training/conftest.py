"""A small phantom cohort and settings that make training take seconds."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.datasets.phantom import write_phantom_cohort

NARROW = {
    "unet": {"network_def::filters": [4, 4, 4, 4, 4, 4]},
    "attention_unet": {"network_def::channels": [4, 4, 4, 4, 4]},
    "vnet": {},
    "corrector": {},
}


@pytest.fixture(scope="session")
def cohort(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four phantom patients with three slices each and every second pixel, in ACDC's layout."""
    root = tmp_path_factory.mktemp("cohort")
    write_phantom_cohort(root, patients=4, frames=3, cine=False)
    for path in root.rglob("*.nii.gz"):
        image = nib.load(path)
        middle = image.shape[2] // 2
        array = np.asarray(image.dataobj)[::2, ::2, middle - 1 : middle + 2]
        affine = image.affine @ np.diag([2, 2, 1, 1])
        nib.save(nib.Nifti1Image(array, affine), path)
    return root


@pytest.fixture
def small(cohort: Path, tmp_path: Path) -> Any:
    """Makes settings, by id, of a run of a network that takes seconds; given ones replace the usual ones."""

    def settings(network: str, **given: Any) -> dict[str, Any]:
        return {
            "dataset_dir": str(cohort),
            "output_dir": str(tmp_path / "run"),
            "cache_dir": str(tmp_path / "cache"),
            "precision": "fp32",
            "spacing_mm": 3.0,
            "field_px": [64, 64],
            "patch_px": [64, 64],
            "batch_size": 4,
            "max_epochs": 1,
            "val_interval": 1,
            **NARROW[network],
            **given,
        }

    return settings
