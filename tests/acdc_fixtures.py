"""Writer of tiny labelled patients in ACDC's layout as fixtures of every test."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.records import AcdcLabel

AFFINE = np.diag([-1.5, -1.5, 8.0, 1.0])


@pytest.fixture
def heart_label() -> Callable[..., np.ndarray]:
    """Makes a 12 x 10 label map: an LV of `lv_px` columns, a column of MYO beside it, one of RV."""

    def make(slices: int = 3, lv_px: int = 4) -> np.ndarray:
        label = np.zeros((12, 10, slices), np.uint8)
        label[2, 3:7] = AcdcLabel.RV
        label[3, 3:7] = AcdcLabel.MYO
        label[4 : 4 + lv_px, 3:7] = AcdcLabel.LV
        return label

    return make


@pytest.fixture
def write_nifti() -> Callable[..., Path]:
    """Writes an array as NIfTI and returns its path."""

    def write(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), path)
        return path

    return write


@pytest.fixture
def write_patient(
    write_nifti: Callable[..., Path], heart_label: Callable[..., np.ndarray]
) -> Callable[..., Path]:
    """Writes a sound patient with ED in frame 1 and ES in frame 3, and returns its folder.

    Further keys and values go to `Info.cfg`; None leaves a key out.
    """

    def write(root: Path, name: str = "patient001", *, slices: int = 3, **info: Any) -> Path:
        folder = root / name
        rng = np.random.default_rng(sum(name.encode()))
        for frame, lv_px in ((1, 4), (3, 2)):
            label = heart_label(slices, lv_px)
            image = (label * 50 + rng.integers(0, 20, label.shape)).astype(np.int16)
            write_nifti(folder / f"{name}_frame{frame:02d}.nii.gz", image)
            write_nifti(folder / f"{name}_frame{frame:02d}_gt.nii.gz", label)
        entries = {"ED": 1, "ES": 3, "Group": "NOR", **info}
        lines = [f"{key}: {value}\n" for key, value in entries.items() if value is not None]
        (folder / "Info.cfg").write_text("".join(lines), encoding="utf-8")
        return folder

    return write
