"""Tiny labelled hearts in ACDC's layout: discs in a ring, with known areas and noise."""

from pathlib import Path

import nibabel as nib
import numpy as np

from pipelines.core.records import AcdcLabel

AFFINE = np.diag([-2.0, -2.0, 10.0, 1.0])
AFFINE[:3, 3] = 5.0
GREY = {AcdcLabel.BACKGROUND: 20.0, AcdcLabel.RV: 180.0, AcdcLabel.MYO: 80.0, AcdcLabel.LV: 200.0}


def heart_label(lv_px: float = 8.0, slices: int = 4) -> np.ndarray:
    """A `(48, 40, slices)` label map: an LV of this radius, a ring of 3 pixels, an RV beside it."""
    x, y = np.ogrid[:48, :40]
    radius = np.hypot(x - 28, y - 20)
    label = np.where(np.hypot(x - 13, y - 20) < lv_px - 1, AcdcLabel.RV, AcdcLabel.BACKGROUND)
    label = np.where(radius < lv_px + 3, AcdcLabel.MYO, label)
    label = np.where(radius < lv_px, AcdcLabel.LV, label)
    return np.repeat(label[..., None], slices, axis=2).astype(np.uint8)


def heart_image(label: np.ndarray, seed: int, *, noise: float = 5.0, gain: float = 1.0) -> np.ndarray:
    """The label's tissues with white noise, int16."""
    grey = np.select([label == key for key in GREY], list(GREY.values()))
    noisy = grey + np.random.default_rng(seed).normal(0, noise, label.shape)
    return np.clip(gain * noisy, 0, None).astype(np.int16)


def write_heart(
    root: Path, number: int, group: str = "NOR", *, gain: float = 1.0, noise: float = 5.0, es_px: float = 6.0
) -> Path:
    """A sound patient `patientNNN` with ED in frame 1 and ES in frame 3; its folder."""
    name = f"patient{number:03d}"
    folder = root / name
    folder.mkdir(parents=True)
    for frame, radius in ((1, 8.0), (3, es_px)):
        label = heart_label(radius)
        image = heart_image(label, 10 * number + frame, noise=noise, gain=gain)
        # Bright patches around the heart of its own, as no two chests are alike.
        patches = np.random.default_rng(number).random((12, 10)) > 0.6
        outside = np.kron(patches, np.ones((4, 4)))[..., None] * (label == AcdcLabel.BACKGROUND)
        image += (outside * 160 * gain).astype(np.int16)
        save(folder / f"{name}_frame{frame:02d}.nii.gz", image)
        save(folder / f"{name}_frame{frame:02d}_gt.nii.gz", label)
    (folder / "Info.cfg").write_text(f"ED: 1\nES: 3\nGroup: {group}\nNbFrame: 12\n", encoding="utf-8")
    return folder


def save(path: Path, array: np.ndarray, affine: np.ndarray = AFFINE) -> None:
    """Write a NIfTI file."""
    nib.save(nib.Nifti1Image(array, affine), path)
