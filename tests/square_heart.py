"""A heart of squares, whose figures can be counted by hand."""

from pathlib import Path

import numpy as np

from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume, write_label
from pipelines.datasets.prepare import write_datalist

SPACING = (1.0, 1.0, 10.0)


def square_heart(cavity: int, wall: int, *, rv: int = 10) -> Volume:
    """Square LV of so many mm a side in a wall of so many, RV of 10 mm by `rv`, in two slices of 10 mm."""
    label = np.zeros((60, 60, 4), np.uint8)
    low, high = 35 - cavity // 2, 35 + cavity // 2
    label[low - wall : high + wall, low - wall : high + wall, 1:3] = AcdcLabel.MYO
    label[low:high, low:high, 1:3] = AcdcLabel.LV
    label[2:12, 2 : 2 + rv, 1:3] = AcdcLabel.RV
    return Volume(label, np.diag([*SPACING, 1.0]), SPACING)


def write_square_hearts(folder: Path) -> None:
    """A datalist of 12 patients in two groups by the size of the cavity, the last four in the test set."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(0)
    volumes = []
    for number in range(12):
        patient, group = f"patient{number:03d}", ("DCM", "NOR")[number % 2]
        for frame, phase in ((1, "ED"), (9, "ES")):
            cavity = (14 if group == "NOR" else 24) - (4 if phase == "ES" else 0) + 2 * int(rng.integers(2))
            label = folder / f"{patient}_frame{frame:02d}_gt.nii.gz"
            found = square_heart(cavity, 4)
            write_label(label, found.array, found.affine)
            volumes.append(
                {
                    "image": str(folder / f"{patient}_frame{frame:02d}.nii.gz"),
                    "label": str(label),
                    "patient": patient,
                    "group": group,
                    "phase": phase,
                    "frame": frame,
                    "spacing_mm": [1.0, 1.0, 10.0],
                    "part": "test" if number >= 8 else number % 3,
                    "fingerprint": f"{number}{phase}",
                }
            )
    write_datalist(folder, folder, volumes)
