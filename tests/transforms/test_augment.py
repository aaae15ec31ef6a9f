from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from pipelines.transforms.augment import (
    IntensityAugmentation,
    RandAugmentBatch,
    RandAugmentBatchd,
    RandAugmentXray,
    RandAugmentXrayd,
    SpatialAugmentation,
    change_some,
)


def test_only_the_chosen_images_are_worked_on_and_changed() -> None:
    image = torch.arange(8.0).reshape(4, 1, 1, 2)
    chosen = torch.tensor([True, False, True, False]).reshape(4, 1, 1, 1)
    seen = []

    def change(some: Tensor, rows: Tensor) -> Tensor:
        seen.append((some.shape, rows.tolist()))
        return some + 10 * (rows + 1).reshape(-1, 1, 1, 1)

    found = change_some(image, chosen, change)
    assert seen == [((2, 1, 1, 2), [0, 2])]
    assert found.flatten().tolist() == [10.0, 11.0, 2.0, 3.0, 34.0, 35.0, 6.0, 7.0]
    assert image.flatten().tolist() == list(range(8))


def test_a_batch_of_which_none_is_chosen_stays() -> None:
    image = torch.rand(3, 2, 4)

    def never(some: Tensor, rows: Tensor) -> Tensor:
        raise AssertionError(f"expected no call, found one for {len(some)} images at {rows}")

    assert torch.equal(change_some(image, torch.zeros(3, 1, 1, dtype=torch.bool), never), image)


NONE = IntensityAugmentation(gamma=0, contrast=0, brightness=0, bias=0, noise=0, low_resolution=1, share=1.0)
CHANGES = [field.name for field in fields(IntensityAugmentation) if field.name != "share"]


def scan(count: int = 4) -> Tensor:
    return torch.randn(count, 3, 24, 20, generator=torch.Generator().manual_seed(0))


def changed_by(name: str, image: Tensor, seed: int = 0) -> Tensor:
    torch.manual_seed(seed)
    amount = 3.0 if name == "low_resolution" else 0.5
    return replace(NONE, **{name: amount}).apply(image)


@pytest.mark.parametrize("ranges", [NONE, IntensityAugmentation(share=0)], ids=["no ranges", "no share"])
def test_nothing_changes_without_range_or_share(ranges: IntensityAugmentation) -> None:
    assert torch.allclose(ranges.apply(scan()), scan(), atol=2e-3)


@pytest.mark.parametrize("name", CHANGES)
def test_each_change_changes_values_only(name: str) -> None:
    image = scan()
    found = changed_by(name, image)
    assert (found.shape, found.dtype) == (image.shape, torch.float32)
    assert found.isfinite().all()
    assert not torch.allclose(found, image, atol=1e-2)
    assert torch.equal(image, scan())


@pytest.mark.parametrize("name", CHANGES)
def test_a_seed_gives_the_same_change_and_another_seed_another(name: str) -> None:
    first, second, other = (changed_by(name, scan(), seed) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("name", [name for name in CHANGES if name != "noise"])
def test_the_channels_of_a_slice_change_alike(name: str) -> None:
    image = scan()[:, :1].repeat(1, 3, 1, 1)
    found = changed_by(name, image)
    assert torch.allclose(found[:, 0], found[:, 2], atol=1e-5)


def test_noise_is_drawn_for_each_channel_up_to_its_level() -> None:
    noise = changed_by("noise", torch.zeros(8, 3, 64, 64))
    assert not torch.equal(noise[:, 0], noise[:, 1])
    levels = noise.std(dim=(1, 2, 3))
    assert levels.max() < 0.55
    assert levels.max() > 2 * levels.min()


def test_gamma_keeps_the_darkest_and_the_brightest_voxel() -> None:
    image = scan()
    found = changed_by("gamma", image)
    assert torch.allclose(found.amax(dim=(1, 2, 3)), image.amax(dim=(1, 2, 3)), atol=1e-4)
    assert torch.allclose(found.amin(dim=(1, 2, 3)), image.amin(dim=(1, 2, 3)), atol=0.5)
    order = image[0].flatten().argsort()
    assert (found[0].flatten()[order].diff() >= -1e-5).all()


def test_contrast_multiplies_and_brightness_adds_one_number_a_slice() -> None:
    image = scan()
    factor = changed_by("contrast", image) / image
    assert torch.allclose(factor.amax(dim=(1, 2, 3)), factor.mean(dim=(1, 2, 3)), atol=2e-1)
    assert ((factor.mean(dim=(1, 2, 3)) > 0.45) & (factor.mean(dim=(1, 2, 3)) < 1.55)).all()
    offset = changed_by("brightness", image) - image
    assert offset.std(dim=(1, 2, 3)).max() < 1e-2


def test_the_bias_field_is_smooth() -> None:
    image = torch.ones(1, 1, 64, 64)
    image[..., 0, 0] = 0  # the darkest voxel is the zero of the field
    field = changed_by("bias", image)[0, 0, 1:, 1:]
    assert field.std() > 0.05
    assert field.diff(dim=0).abs().max() < 0.25


def test_lower_resolution_keeps_the_mean_and_loses_detail() -> None:
    image = scan(1)
    found = changed_by("low_resolution", image)
    assert found.mean() == pytest.approx(float(image.mean()), abs=0.05)
    assert found.std() < 0.9 * image.std()


def test_about_the_share_of_the_slices_is_touched() -> None:
    torch.manual_seed(0)
    image = scan(1).repeat(400, 1, 1, 1)
    found = replace(NONE, brightness=1.0, share=0.25).apply(image)
    touched = ((found - image).abs().amax(dim=(1, 2, 3)) > 1e-2).float().mean()
    assert 0.17 < touched < 0.33


def test_a_constant_slice_stays_finite() -> None:
    torch.manual_seed(0)
    assert IntensityAugmentation(share=1).apply(torch.zeros(2, 3, 8, 8)).isfinite().all()


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


STILL_XRAY_AUGMENT = SpatialAugmentation(
    rotation_deg=0, scale=0, anisotropy=0, shift=0, anywhere=0, flip=0, elastic_probability=0
)
SAME = IntensityAugmentation(share=0)


def batch(count: int = 4) -> torch.Tensor:
    return torch.rand(count, 1, 32, 24, generator=torch.Generator().manual_seed(0))


def test_without_ranges_nothing_changes() -> None:
    image = batch()
    assert torch.allclose(RandAugmentXray(STILL_XRAY_AUGMENT, SAME)(image), image, atol=2e-4)


def test_images_of_twice_the_size_shrink_to_averages() -> None:
    image = batch()
    found = RandAugmentXray(STILL_XRAY_AUGMENT, SAME, size=(16, 12))(image)
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
    transform = RandAugmentXrayd(RandAugmentXray(STILL_XRAY_AUGMENT, SAME))
    found = transform({"image": batch(), "label": torch.tensor([0, 1, 0, 1])})
    assert found["label"].tolist() == [0, 1, 0, 1]
    with pytest.raises(KeyError, match="image"):
        transform({"label": torch.tensor([0])})
