from dataclasses import fields, replace

import pytest
import torch
from torch import Tensor

from pipelines.transforms.intensity import IntensityAugmentation

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
