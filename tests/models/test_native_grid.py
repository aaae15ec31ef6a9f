import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from pipelines.models.bundle import load_config
from pipelines.models.native_grid import foreground_box, to_native_box

CONFIG = load_config("unet")


def oblique(spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """Axes that are permuted, flipped and turned, with the origin elsewhere."""
    affine = np.eye(4)
    affine[:3, :3] = np.array([[0, -1, 0], [0.8, 0, -0.6], [0.6, 0, 0.8]]) * spacing_mm
    affine[:3, 3] = (7, -3, 9)
    return affine


def prepared(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> dict[str, MetaTensor]:
    """An image after the bundle's preprocessing."""
    array = torch.rand(1, *shape, generator=torch.Generator().manual_seed(1))
    image = MetaTensor(array, affine=oblique(spacing_mm))
    item: dict[str, MetaTensor] = CONFIG.get_parsed_content("preprocessing")({"image": image})
    return item


def smooth_logits(item: dict[str, MetaTensor]) -> torch.Tensor:
    generator = torch.Generator().manual_seed(2)
    size = item["image"].shape[1:]
    coarse = torch.randn(1, 4, 8, 8, size[2], generator=generator)
    return torch.nn.functional.interpolate(coarse, size=tuple(size), mode="trilinear")[0] * 3


@pytest.mark.parametrize(
    ("shape", "spacing_mm"),
    [
        pytest.param((150, 130, 4), (1.4, 1.7, 8.0), id="smaller than the field"),
        pytest.param((256, 230, 3), (1.56, 1.56, 10.0), id="larger than the field"),
        pytest.param((300, 280, 3), (0.8, 0.8, 5.0), id="fine"),
        pytest.param((60, 70, 2), (3.1, 2.9, 5.0), id="coarse"),
    ],
)
def test_it_gives_what_the_inverse_of_the_preprocessing_gives(
    shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]
) -> None:
    item = prepared(shape, spacing_mm)
    logits = smooth_logits(item)
    item["pred"] = MetaTensor(logits.clone(), meta=item["image"].meta)
    expected = CONFIG.get_parsed_content("to_native_grid")(item)["pred"].as_tensor()
    probabilities = logits.softmax(dim=0).movedim(-1, 0)
    found, (rows, columns) = to_native_box(
        probabilities,
        item["image"].affine.numpy(),
        oblique(spacing_mm),
        shape,
    )
    # At the borders MONAI fades to what it padded with.
    inner = [slice(2, -2), slice(2, -2)]
    there = expected[:, rows, columns][:, inner[0], inner[1]]
    assert torch.allclose(found[:, inner[0], inner[1]], there, atol=1e-5)
    outside = torch.ones(shape[:2], dtype=torch.bool)
    outside[max(0, rows.start - 2) : rows.stop + 2, max(0, columns.start - 2) : columns.stop + 2] = False
    assert not expected[:, outside].any()


@pytest.mark.parametrize("label", [1, 2, 3])
def test_the_box_holds_every_voxel_of_the_heart(label: int) -> None:
    probabilities = torch.zeros(4, 20, 30, 3)
    probabilities[0] = 1
    for voxel in ((4, 12, 0), (9, 7, 2)):
        probabilities[0, *voxel] = 0.4
        probabilities[label, *voxel] = 0.6
    assert foreground_box(probabilities) == (slice(4, 10), slice(7, 13))


def test_the_box_is_empty_where_there_is_no_heart() -> None:
    probabilities = torch.zeros(4, 20, 30, 3)
    assert probabilities[:, *foreground_box(probabilities)].numel() == 0
