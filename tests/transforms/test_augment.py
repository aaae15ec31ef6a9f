from dataclasses import replace

import pytest
import torch
from torch import Tensor

from pipelines.transforms.augment import RandAugmentBatch, RandAugmentBatchd
from pipelines.transforms.intensity import IntensityAugmentation
from pipelines.transforms.spatial import SpatialAugmentation

STILL = SpatialAugmentation(
    rotation_deg=0, scale=0, anisotropy=0, shift=0, anywhere=0, flip=0, elastic=0, elastic_probability=0
)
SAME_INTENSITY = IntensityAugmentation(share=0)
MIDDLE = torch.zeros(1, 2)


def blobs(count: int = 1, size: int = 48) -> tuple[Tensor, Tensor]:
    """Label 3 in a rectangle off the middle, and an image that is its pattern in 3 channels."""
    label = torch.zeros(count, 1, size, size, dtype=torch.uint8)
    label[:, :, size // 4 : size // 2, size // 3 : size - 8] = 3
    return (label == 3).half().repeat(1, 3, 1, 1), label


def augment(
    image: Tensor,
    label: Tensor,
    spatial: SpatialAugmentation = STILL,
    *,
    size: int = 48,
    center: Tensor | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    torch.manual_seed(seed)
    transform = RandAugmentBatch((size, size), spatial=spatial, intensity=SAME_INTENSITY)
    return transform(image, label, torch.zeros(len(image), 2) if center is None else center)


def test_the_batch_leaves_with_the_size_and_types_asked_for() -> None:
    image, label = blobs(5)
    torch.manual_seed(0)
    new_image, new_label = RandAugmentBatch([32, 40])(image, label, torch.zeros(5, 2))
    assert (new_image.shape, new_image.dtype) == ((5, 3, 32, 40), torch.float32)
    assert (new_label.shape, new_label.dtype) == ((5, 1, 32, 40), torch.int64)
    assert set(new_label.unique().tolist()) <= {0, 3}
    assert new_image.isfinite().all()


def test_without_any_range_the_batch_stays_as_it_is() -> None:
    image = torch.rand(2, 3, 20, 30)
    label = torch.randint(0, 4, (2, 1, 20, 30))
    transform = RandAugmentBatch((20, 30), spatial=STILL, intensity=SAME_INTENSITY)
    new_image, new_label = transform(image, label, torch.zeros(2, 2))
    assert torch.allclose(new_image, image, atol=1e-3)
    assert torch.equal(new_label, label)


def test_inputs_are_not_changed() -> None:
    image, label = blobs(3)
    center = torch.full((3, 2), 0.1)
    before = image.clone(), label.clone(), center.clone()
    RandAugmentBatch((32, 32))(image, label, center)
    assert all(torch.equal(old, new) for old, new in zip(before, (image, label, center), strict=True))


def test_a_seed_gives_the_same_batch_and_another_seed_another() -> None:
    image, label = blobs(4)
    ranges = SpatialAugmentation()
    first, second, other = (augment(image, label, ranges, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], other[0])


def test_each_slice_of_a_batch_has_its_own_geometry() -> None:
    image, label = blobs(2)
    _, new_label = augment(image, label, SpatialAugmentation(anywhere=0))
    assert not torch.equal(new_label[0], new_label[1])


@pytest.mark.parametrize(
    "ranges",
    [
        replace(STILL, rotation_deg=45),
        replace(STILL, scale=0.4, anisotropy=0.2),
        replace(STILL, shift=0.1),
        replace(STILL, anywhere=1),
        replace(STILL, flip=1),
        replace(STILL, elastic=0.03, elastic_probability=1),
        SpatialAugmentation(),
    ],
    ids=["rotation", "scale", "shift", "anywhere", "flip", "elastic", "all"],
)
def test_image_and_label_stay_aligned(ranges: SpatialAugmentation) -> None:
    image, label = blobs(4)
    new_image, new_label = augment(image, label, ranges, seed=3)
    assert not torch.equal(new_label, label.long())
    for channel in range(3):
        agree = (new_image[:, channel : channel + 1] > 0.5) == (new_label == 3)
        assert agree.float().mean() > 0.999


def test_a_crop_lies_around_the_heart() -> None:
    label = torch.zeros(1, 1, 40, 60, dtype=torch.uint8)
    label[0, 0, 10, 45] = 1
    # centre of pixel (10, 45) in units of the grid, (2 i + 1) / n - 1
    center = torch.tensor([[21 / 40 - 1, 91 / 60 - 1]])
    _, new_label = augment(label.half(), label, size=9, center=center)
    assert new_label.nonzero().tolist() == [[0, 0, 4, 4]]


def test_what_a_crop_takes_from_outside_repeats_the_border() -> None:
    image = torch.arange(16.0).reshape(1, 1, 4, 4)
    new_image, _ = augment(image, torch.zeros(1, 1, 4, 4, dtype=torch.uint8), size=8)
    assert torch.allclose(new_image[0, 0, 0], torch.tensor([0.0, 0, 0, 1, 2, 3, 3, 3]), atol=2e-2)


def test_flips_reverse_both_axes() -> None:
    image, label = blobs()
    _, new_label = augment(image, label, replace(STILL, flip=1))
    assert torch.equal(new_label, label.flip(2, 3).long())


def test_a_rotation_keeps_lengths_in_a_field_that_is_not_square() -> None:
    label = torch.zeros(8, 1, 40, 80, dtype=torch.uint8)
    label[:, :, 12:28, 32:48] = 3  # 16 x 16 pixels in the middle
    _, new_label = augment(label.half(), label, replace(STILL, rotation_deg=90), size=40)
    areas = (new_label == 3).sum(dim=(1, 2, 3)).float()
    assert torch.allclose(areas, torch.full((8,), 256.0), rtol=0.06)


def test_sizes_change_within_the_range() -> None:
    image, label = blobs(32, size=40)
    label[:] = 0
    label[:, :, 10:30, 10:30] = 3  # 400 pixels
    _, new_label = augment(image, label, replace(STILL, scale=0.25), size=40)
    areas = (new_label == 3).sum(dim=(1, 2, 3)) / 400
    assert areas.min() > 0.9 / 1.25**2
    assert areas.max() < 1.1 * 1.25**2
    assert areas.max() / areas.min() > 1.5


def test_the_dictionary_form_changes_image_and_label_and_drops_the_centre() -> None:
    image, label = blobs(2)
    array = RandAugmentBatch((32, 32))
    batch = {"image": image, "label": label, "center": torch.zeros(2, 2), "other": torch.ones(2)}
    torch.manual_seed(5)
    wanted = array(image, label, batch["center"])
    torch.manual_seed(5)
    found = RandAugmentBatchd(array)(batch)
    assert set(found) == {"image", "label", "other"}
    assert torch.equal(found["image"], wanted[0])
    assert torch.equal(found["label"], wanted[1])
    assert set(batch) == {"image", "label", "center", "other"}


@pytest.mark.parametrize("key", ["image", "label", "center"])
def test_a_missing_key_is_named(key: str) -> None:
    image, label = blobs()
    batch = {"image": image, "label": label, "center": MIDDLE}
    del batch[key]
    with pytest.raises(KeyError, match=key):
        RandAugmentBatchd(RandAugmentBatch((32, 32)))(batch)
