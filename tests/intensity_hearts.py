"""Square hearts whose labels can be read from their intensities, and a predictor that does so."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

import nibabel as nib
import numpy as np

from pipelines.core.volume import Volume

AFFINE = np.array([[-2.0, 0, 0, 40], [0, 0, 10, -30], [0, 2, 0, 7], [0, 0, 0, 1]])
VOXEL_ML = 2 * 2 * 10 / 1000
SHAPE = (40, 36, 6)


@dataclass
class FakePrediction:
    mask: np.ndarray


@dataclass
class IntensityPredictor:
    """Takes intensities of about 100, 200 and 300 for RV, myocardium and LV."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)

    def predict(self, volume: Volume) -> FakePrediction:
        self.shapes.append(volume.array.shape)
        return FakePrediction(np.round(volume.array / 100).astype(np.uint8))


def heart(radius: int) -> np.ndarray:
    """Square LV of `2 * radius` voxels a side in a ring of 2, RV of 8 x 12 beside it, 4 of 6 slices."""
    image = np.zeros(SHAPE, np.float32)
    image[2:10, 12:24, 1:5] = 100
    image[20 - radius - 2 : 20 + radius + 2, 18 - radius - 2 : 18 + radius + 2, 1:5] = 200
    image[20 - radius : 20 + radius, 18 - radius : 18 + radius, 1:5] = 300
    return image + np.random.default_rng(0).uniform(-20, 20, SHAPE).astype(np.float32)


def lv_ml(radius: int) -> float:
    return (2 * radius) ** 2 * 4 * VOXEL_ML


def save(path: Path, image: np.ndarray, affine: np.ndarray = AFFINE) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(image, affine), path)
    return path


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def acdc_patient(folder: Path, *, radius_ed: int = 8, radius_es: int = 5) -> Path:
    save(folder / f"{folder.name}_frame01.nii.gz", heart(radius_ed))
    save(folder / f"{folder.name}_frame09.nii.gz", heart(radius_es))
    (folder / "Info.cfg").write_text("ED: 1\nES: 9\nGroup: NOR\n", encoding="utf-8")
    return folder
