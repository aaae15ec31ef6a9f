"""Generated chest radiographs: lungs, heart, ribs, and opacities where there is pneumonia."""

from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy import ndimage

from pipelines.core.errors import ConfigError
from pipelines.core.files import atomic_path, output_folder
from pipelines.datasets.xray_image import Finding

SIDE_PX: Final = 224

Grey = npt.NDArray[np.float32]


def write_phantom_xrays(
    output: Path, *, patients: int = 40, images: int = 2, seed: int = 0, side_px: int = SIDE_PX
) -> list[Path]:
    """Write radiographs named and filed as in the public release; returns their paths.

    Half of the patients are healthy with one image each; the others have pneumonia,
    by bacteria (one dense opacity) and by virus (several faint ones in turn),
    with up to `images` each. The same seed gives the same files.

    Args:
        output: Folder to write to, made if it does not exist; gets `train/NORMAL` and `train/PNEUMONIA`.
        patients: Number of patients, at least 2.
        images: Most images of a patient with pneumonia.
        seed: Seed of everything random.
        side_px: Height and width in pixels.

    Raises:
        ConfigError: If there are fewer than 2 patients or no images.
        OutputError: If the folder cannot be written.
    """
    if patients < 2 or images < 1:
        raise ConfigError(
            f"expected at least 2 patients with an image, found {patients} patients, {images} images"
        )
    output_folder(output)
    paths: list[Path] = []
    for number in range(1, patients + 1):
        generator = np.random.default_rng((seed, number))
        if number % 2:
            names = [f"{Finding.NORMAL}/IM-{number:04d}-0001.jpeg"]
            agent = ""
        else:
            agent = ("bacteria", "virus")[number // 2 % 2]
            count = int(generator.integers(1, images + 1))
            names = [
                f"{Finding.PNEUMONIA}/person{number}_{agent}_{index}.jpeg" for index in range(1, count + 1)
            ]
        for name in names:
            path = output / "train" / name
            pixels = phantom_xray(generator, agent, side_px=side_px)
            with atomic_path(path) as temporary:
                Image.fromarray((pixels * 255).astype(np.uint8)).save(temporary, quality=90)
            paths.append(path)
    return paths


def phantom_xray(generator: np.random.Generator, agent: str = "", *, side_px: int = SIDE_PX) -> Grey:
    """A chest radiograph `(side_px, side_px)` float32, 0 to 1.

    Args:
        generator: Source of everything random.
        agent: `"bacteria"`, `"virus"`, or `""` for healthy lungs.
        side_px: Height and width in pixels.
    """
    rows, columns = np.mgrid[-1 : 1 : side_px * 1j, -1 : 1 : side_px * 1j].astype(np.float32)
    shift = generator.uniform(-0.06, 0.06, 2)
    tilt = generator.uniform(-0.06, 0.06)
    x = columns - shift[0] + tilt * rows
    y = rows - shift[1]
    width, height = generator.uniform(0.3, 0.36), generator.uniform(0.6, 0.72)
    lungs = np.zeros_like(x)
    for side in (-1, 1):
        edge = 1 - ((x - side * 0.42) / width) ** 2 - ((y + 0.05) / height) ** 2
        lungs = np.maximum(lungs, np.clip(edge * 4, 0, 1))
    heart = np.clip((1 - ((x - 0.12) / 0.3) ** 2 - ((y - 0.28) / 0.28) ** 2) * 4, 0, 1)
    body = np.clip((1 - (x / 0.95) ** 4) * 3, 0, 1)
    image = 0.06 + body * (0.62 - 0.42 * lungs) + 0.3 * heart * body
    image += 0.35 * np.exp(-((x / 0.08) ** 2)) * body  # spine and mediastinum
    ribs = np.cos(generator.uniform(18, 22) * (y + 0.22 * np.abs(x)) + generator.uniform(0, 6)) > 0.75
    image += 0.05 * ndimage.gaussian_filter(ribs.astype(np.float32), side_px / 150) * body
    image += _opacities(generator, agent, x, y) * lungs
    image = image * generator.uniform(0.8, 1.15) + generator.uniform(-0.04, 0.06)
    image += 0.02 * ndimage.gaussian_filter(generator.standard_normal(x.shape), 0.7)
    clipped: Grey = np.clip(image, 0, 1).astype(np.float32)
    return clipped


def _opacities(generator: np.random.Generator, agent: str, x: Grey, y: Grey) -> Grey:
    count, strength, size = {
        "": (0, 0.0, 1.0),
        "bacteria": (1, generator.uniform(0.3, 0.45), generator.uniform(0.16, 0.26)),
        "virus": (
            int(generator.integers(4, 8)),
            generator.uniform(0.15, 0.25),
            generator.uniform(0.08, 0.14),
        ),
    }[agent]
    total: Grey = np.zeros_like(x)
    for _ in range(count):
        side = generator.choice((-1, 1))
        center_x = side * generator.uniform(0.3, 0.55)
        center_y = generator.uniform(-0.4, 0.45)
        total += strength * np.exp(-(((x - center_x) / size) ** 2) - ((y - center_y) / (1.3 * size)) ** 2)
    smooth: Grey = np.minimum(total, 0.45)
    return smooth
