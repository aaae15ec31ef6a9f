import pytest
import torch

from pipelines.transforms.intensity import IntensityAugmentation
from pipelines.transforms.spatial import SpatialAugmentation
from pipelines.transforms.xray_augment import RandAugmentXray, RandAugmentXrayd

STILL = SpatialAugmentation(
    rotation_deg=0, scale=0, anisotropy=0, shift=0, anywhere=0, flip=0, elastic_probability=0
)
SAME = IntensityAugmentation(share=0)


def batch(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 1, 32, 24, generator=torch.Generator().manual_seed(0))


def test_without_ranges_nothing_changes() -> None:
    image = batch()
    assert torch.allclose(RandAugmentXray(STILL, SAME)(image), image, atol=2e-4)


def test_images_of_twice_the_size_shrink_to_averages() -> None:
    image = batch()
    found = RandAugmentXray(STILL, SAME, size=(16, 12))(image)
    assert torch.allclose(found, torch.nn.functional.avg_pool2d(image, 2), atol=2e-4)


def test_a_share_of_the_images_stays_as_in_use() -> None:
    torch.manual_seed(0)
    image = batch(200)
    augment = RandAugmentXray(
        SpatialAugmentation(), IntensityAugmentation(share=1.0), size=(16, 12), unchanged=0.3
    )
    same = (augment(image) - torch.nn.functional.avg_pool2d(image, 2)).abs().amax(dim=(1, 2, 3)) < 1e-5
    assert 0.2 < same.float().mean() < 0.4


def test_what_a_shift_brings_in_is_black() -> None:
    torch.manual_seed(0)
    shifted = SpatialAugmentation(
        rotation_deg=0, scale=0, anisotropy=0, shift=0.3, anywhere=0, flip=0, elastic_probability=0
    )
    image = torch.ones(16, 1, 32, 32)
    found = RandAugmentXray(shifted, SAME)(image)
    assert (found < 1e-3).any()
    edges = torch.cat((found[:, :, 0], found[:, :, -1], found[..., 0], found[..., -1]), dim=-1)
    assert (edges < 1e-3).any(dim=-1).float().mean() > 0.9


def test_shape_type_range_and_input_stay() -> None:
    torch.manual_seed(0)
    image = batch()
    before = image.clone()
    found = RandAugmentXray(SpatialAugmentation(), IntensityAugmentation(share=1.0))(image)
    assert found.shape == image.shape
    assert found.dtype == torch.float32
    assert found.min() >= 0
    assert found.max() <= 1
    assert torch.equal(image, before)


def test_flips_can_be_left_to_right_alone() -> None:
    torch.manual_seed(0)
    mirror = SpatialAugmentation(
        rotation_deg=0, scale=0, anisotropy=0, shift=0, anywhere=0, flip=[1.0, 0.0], elastic_probability=0
    )
    image = batch()
    assert torch.allclose(RandAugmentXray(mirror, SAME)(image), image.flip(-1), atol=2e-4)


def test_the_same_seed_gives_the_same_batch() -> None:
    augment = RandAugmentXray(SpatialAugmentation(), IntensityAugmentation())
    found = []
    for _ in range(2):
        torch.manual_seed(3)
        found.append(augment(batch()))
    assert torch.equal(found[0], found[1])


def test_the_dictionary_form_changes_the_image_alone() -> None:
    transform = RandAugmentXrayd(RandAugmentXray(STILL, SAME))
    found = transform({"image": batch(), "label": torch.tensor([0, 1, 0, 1])})
    assert found["label"].tolist() == [0, 1, 0, 1]
    with pytest.raises(KeyError, match="image"):
        transform({"label": torch.tensor([0])})
