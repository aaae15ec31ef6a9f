from collections.abc import Iterator
from itertools import permutations, product
from pathlib import Path

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from narrow_bundle import write_narrow_bundle
from scipy import ndimage
from torch import Tensor, nn

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume, read_volume
from pipelines.models.bundle import load_config
from pipelines.models.heart import Predictor, expected_dice, foreground_box, to_native_box

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


def test_dice_is_that_of_the_mask_with_the_probabilities_as_truth() -> None:
    probabilities = torch.zeros(4, 2, 2, 1)
    probabilities[AcdcLabel.LV] = torch.tensor([[0.9, 0.7], [0.4, 0.0]])[..., None]
    mask = np.zeros((2, 2, 1), np.uint8)
    mask[0, :, 0] = AcdcLabel.LV
    found = expected_dice(probabilities, mask)
    assert found[AcdcLabel.LV] == pytest.approx(2 * (0.9 + 0.7) / (2 + 2.0))
    assert found[AcdcLabel.RV] == 0.0


def test_a_network_that_is_sure_promises_one() -> None:
    mask = np.full((3, 3, 2), AcdcLabel.MYO, np.uint8)
    probabilities = torch.zeros(4, 3, 3, 2)
    probabilities[AcdcLabel.MYO] = 1
    assert expected_dice(probabilities, mask)[AcdcLabel.MYO] == 1.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle with narrow networks of random weights."""
    return write_narrow_bundle(tmp_path_factory.mktemp("bundle") / "acdc")


class LvWhereBright(nn.Module):
    """Calls LV what is brighter than halfway between the extremes of the slice itself, not its neighbours."""

    def forward(self, image: Tensor) -> Tensor:
        center = image[:, 1:2]
        low, high = center.amin(dim=(2, 3), keepdim=True), center.amax(dim=(2, 3), keepdim=True)
        lv = 40 * ((center - low) / (high - low) - 0.5)
        others = torch.full_like(lv, -40)
        return torch.cat((torch.zeros_like(lv), others, others, lv), dim=1)


class Nothing(nn.Module):
    """Calls everything background."""

    def forward(self, image: Tensor) -> Tensor:
        logits = torch.zeros(len(image), 4, *image.shape[2:])
        logits[:, 0] = 5
        return logits


def disc(shape: tuple[int, int, int], spacing_mm: tuple[float, float, float]) -> np.ndarray:
    """A cylinder of 25 mm radius, off the middle, that leans by 5 mm a slice; slices are the last axis."""
    x, y, z = np.meshgrid(*(np.arange(length) for length in shape), indexing="ij")
    center_x = (shape[0] / 2) * spacing_mm[0] + 12 + 5 * (z - shape[2] // 2)
    center_y = (shape[1] / 2) * spacing_mm[1] - 8
    return np.hypot(x * spacing_mm[0] - center_x, y * spacing_mm[1] - center_y) < 25


def turned(degrees: float) -> np.ndarray:
    turn = np.deg2rad(degrees)
    about_z = np.array([[np.cos(turn), -np.sin(turn), 0], [np.sin(turn), np.cos(turn), 0], [0, 0, 1]])
    about_x = np.array([[1, 0, 0], [0, np.cos(turn), -np.sin(turn)], [0, np.sin(turn), np.cos(turn)]])
    return about_z @ about_x


def volume(
    inside: np.ndarray,
    spacing_mm: tuple[float, float, float],
    *,
    axes: tuple[int, ...] = (0, 1, 2),
    flips: tuple[int, ...] = (),
    degrees: float = 0.0,
) -> tuple[Volume, np.ndarray]:
    """The pattern as an image whose file has its axes permuted and flipped, and as a mask on its grid."""
    affine = np.eye(4)
    affine[:3, :3] = turned(degrees) @ np.diag(spacing_mm)
    affine[:3, 3] = (30, -40, 50)
    affine[:, :3] = affine[:, list(axes)]
    inside = inside.transpose(axes)
    for axis in flips:
        affine[:, 3] += affine[:, axis] * (inside.shape[axis] - 1)
        affine[:, axis] *= -1
        inside = np.flip(inside, axis)
    array = 100 + 200 * ndimage.gaussian_filter(inside.astype(np.float32), 0.3)
    spacing = tuple(spacing_mm[axis] for axis in axes)
    return Volume(array, affine, (spacing[0], spacing[1], spacing[2])), inside


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / (first.sum() + second.sum()))


@pytest.fixture(scope="module")
def bright(bundle: Path) -> Predictor:
    return with_fake_networks(Predictor.load("unet", bundle=bundle, precision="fp32"))


def with_fake_networks(predictor: Predictor) -> Predictor:
    for member in predictor.members:
        member.network = LvWhereBright()
    return predictor


SPACING = (1.4, 1.6, 8.0)
SHAPE = (97, 83, 3)


def geometries() -> Iterator[object]:
    for axes in permutations(range(3)):
        yield pytest.param(SHAPE, SPACING, {"axes": axes}, id=f"axes {axes}")
    for flips in ((0,), (1,), (2,), (0, 1, 2)):
        yield pytest.param(SHAPE, SPACING, {"flips": flips}, id=f"flips {flips}")
    yield pytest.param(SHAPE, SPACING, {"degrees": 35.0}, id="oblique")
    everything = {"axes": (2, 0, 1), "flips": (0, 2), "degrees": -50.0}
    yield pytest.param(SHAPE, SPACING, everything, id="oblique, permuted, flipped")
    yield pytest.param((41, 37, 3), (2.7, 2.9, 10.0), {}, id="coarse")
    yield pytest.param((151, 133, 3), (2.6, 2.6, 8.0), {"degrees": 20.0}, id="larger than the field")
    yield pytest.param((230, 101, 3), (0.9, 0.9, 6.0), {}, id="fine")
    yield pytest.param((97, 83, 1), SPACING, {}, id="1 slice")
    yield pytest.param((60, 60, 40), (2.0, 2.0, 5.0), {}, id="40 slices")
    yield pytest.param((64, 64, 5), (2.2, 2.2, 2.2), {}, id="cubic voxels")


@pytest.mark.parametrize(("shape", "spacing_mm", "stored"), geometries())
def test_the_mask_comes_back_where_the_structure_is(
    bright: Predictor,
    shape: tuple[int, int, int],
    spacing_mm: tuple[float, float, float],
    stored: dict[str, object],
) -> None:
    inside = disc(shape, spacing_mm)
    if shape[2] == 40:  # it would lean out of the image
        inside = np.repeat(inside[..., 20:21], 40, axis=2)
    image, truth = volume(inside, spacing_mm, **stored)  # type: ignore[arg-type]
    found = bright.predict(image)
    assert found.mask.shape == image.array.shape
    assert found.mask.dtype == np.uint8
    assert bright.probabilities(image).shape == (4, *image.array.shape)
    assert set(np.unique(found.mask)) == {AcdcLabel.BACKGROUND, AcdcLabel.LV}
    assert dice(found.mask == AcdcLabel.LV, truth) > 0.95
    for index in range(truth.shape[2]) if stored == {} else ():
        assert dice(found.mask[..., index] == AcdcLabel.LV, truth[..., index]) > 0.93


@pytest.fixture(scope="module")
def one_sided(bundle: Path) -> Predictor:
    predictor = Predictor.load("unet", bundle=bundle, precision="fp32")
    predictor.members[0].network = LvBesideTheDarkerSlice()
    return predictor


class LvBesideTheDarkerSlice(nn.Module):
    """Calls LV what is bright in the slice before and the rows and columns before, and not here."""

    def forward(self, image: Tensor) -> Tensor:
        lv = 20 * (image[:, :1].roll((3, 7), (2, 3)) - image[:, 1:2])
        others = torch.full_like(lv, -40)
        return torch.cat((torch.zeros_like(lv), others, others, lv), dim=1)


@pytest.mark.parametrize("degrees", [0.0, 50.0])
@pytest.mark.parametrize("axes", permutations(range(3)))
def test_a_network_that_minds_the_order_gives_the_same_in_all_48_orders_of_storage(
    one_sided: Predictor, axes: tuple[int, ...], degrees: float
) -> None:
    inside = disc(SHAPE, SPACING)
    plain, _ = volume(inside, SPACING, degrees=degrees)
    expected = one_sided.predict(plain).mask
    assert expected.any()
    mirrored = np.flip(plain.array, 0)
    assert not np.array_equal(one_sided.predict(Volume(mirrored, plain.affine, SPACING)).mask, expected)
    for signs in product((False, True), repeat=3):
        flips = tuple(axis for axis, flipped in enumerate(signs) if flipped)
        image, _ = volume(inside, SPACING, axes=axes, flips=flips, degrees=degrees)
        assert np.array_equal(one_sided.predict(image).mask, np.flip(expected.transpose(axes), flips))


def test_slices_that_are_shifted_against_each_other_stay_as_they_are(bright: Predictor) -> None:
    image, truth = volume(disc(SHAPE, SPACING), SPACING)
    sheared = image.affine.copy()
    sheared[0, 2] = 3.0  # mm along x from slice to slice
    found = bright.predict(Volume(image.array, sheared, image.spacing_mm))
    assert np.array_equal(found.mask, bright.predict(image).mask)
    assert dice(found.mask == AcdcLabel.LV, truth) > 0.95


def test_an_image_without_a_heart_has_an_empty_mask(bundle: Path) -> None:
    predictor = Predictor.load("unet", bundle=bundle)
    predictor.members[0].network = Nothing()
    found = predictor.predict(noise())
    assert found.mask.shape == (70, 60, 2)
    assert not found.mask.any()


def test_only_the_largest_component_is_kept(bright: Predictor) -> None:
    image, truth = volume(disc(SHAPE, SPACING), SPACING)
    image.array[10:16, 10:16, 1] = 300
    found = bright.predict(image)
    assert bright.probabilities(image)[AcdcLabel.LV, 12, 12, 1] > 0.5
    assert found.mask[12, 12, 1] == AcdcLabel.BACKGROUND
    assert dice(found.mask == AcdcLabel.LV, truth) > 0.95


def test_the_input_is_not_changed(bright: Predictor) -> None:
    image, _ = volume(disc(SHAPE, SPACING), SPACING, axes=(2, 0, 1))
    before = image.array.copy(), image.affine.copy()
    bright.predict(image)
    assert np.array_equal(image.array, before[0])
    assert np.array_equal(image.affine, before[1])


def noise(shape: tuple[int, int, int] = (70, 60, 2)) -> Volume:
    array = ndimage.gaussian_filter(np.random.default_rng(0).random(shape), (3, 3, 0))
    return Volume(array.astype(np.float32), np.diag([1.5, 1.5, 8.0, 1.0]), (1.5, 1.5, 8.0))


@pytest.mark.parametrize("network", ["unet", "attention_unet", "vnet", ["unet", "attention_unet"]])
def test_probabilities_add_up_to_one(bundle: Path, network: str | list[str]) -> None:
    found = Predictor.load(network, bundle=bundle).probabilities(noise())
    assert found.dtype == np.float32
    assert np.allclose(found.sum(axis=0), 1, atol=1e-3)
    assert (found >= 0).all()


def test_the_stages_of_a_prediction_are_timed(bundle: Path) -> None:
    seconds = Predictor.load("unet", bundle=bundle).predict(noise()).seconds
    assert set(seconds) == {"preprocess", "network", "postprocess"}
    assert min(seconds.values()) > 0


def test_probabilities_are_zero_outside_of_the_field(bundle: Path) -> None:
    image = noise((211, 60, 2))  # 316.5 mm, the field has 288
    total = Predictor.load("unet", bundle=bundle).probabilities(image).sum(axis=0)
    assert np.allclose(total[:9], 0, atol=1e-3)
    assert np.allclose(total[-9:], 0, atol=1e-3)
    assert np.allclose(total[12:-12], 1, atol=1e-3)


def test_an_ensemble_is_the_mean_of_its_members(bundle: Path) -> None:
    names = ["unet", "attention_unet"]
    members = [Predictor.load(name, bundle=bundle, precision="fp32").probabilities(noise()) for name in names]
    together = Predictor.load(names, bundle=bundle, precision="fp32").probabilities(noise())
    assert np.allclose(together, np.mean(members, axis=0), atol=1e-5)
    assert not np.allclose(members[0], members[1], atol=1e-3)


def test_a_prediction_does_not_depend_on_those_before_it(bundle: Path) -> None:
    predictor = Predictor.load("unet", bundle=bundle)
    first = predictor.probabilities(noise())
    predictor.predict(noise((40, 50, 3)))
    assert np.array_equal(predictor.probabilities(noise()), first)


def test_a_cine_is_refused(bright: Predictor) -> None:
    cine = Volume(np.zeros((4, 4, 2, 3), np.float32), np.eye(4), (1.0, 1.0, 1.0))
    with pytest.raises(DataError, match=r"expected one frame \(3-D\), found \(4, 4, 2, 3\)"):
        bright.predict(cine)


def test_an_unknown_network_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"expected a network among unet, attention_unet, .* found 'resnet'"
    ):
        Predictor.load("resnet")


def test_weights_of_another_network_are_refused_with_the_first_keys(bundle: Path) -> None:
    other = bundle / "models" / "attention_unet" / "model.pt"
    with pytest.raises(ConfigError, match=r"expected weights of DynUNet, .*missing \['.*unexpected \['"):
        Predictor.load("unet", bundle=bundle, weights=other)


def test_missing_weights_are_named(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"expected weights at .*none\.pt, found no such file"):
        Predictor.load("unet", bundle=bundle, weights=tmp_path / "none.pt")


def test_one_weights_file_does_not_serve_several_networks(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="expected one network for .*, found 2"):
        Predictor.load(["unet", "vnet"], bundle=bundle, weights=tmp_path / "model.pt")


@pytest.mark.slow
def test_a_real_heart_has_the_same_mask_in_every_order_and_direction_of_axes(thorax_data: Path) -> None:
    patient = min((thorax_data / "acdc" / "training").glob("patient*"))
    plain = read_volume(min(path for path in patient.glob("*_frame*.nii.gz") if "_gt" not in path.name))
    predictor = Predictor.load("unet")
    expected = predictor.predict(plain).mask
    assert (expected == AcdcLabel.LV).any()
    # Every order of axes once and every direction of each; the other test has all 48 together.
    for axes, flips in zip(permutations(range(3)), ((2,), (0,), (1,), (0, 1, 2), (0, 2), ()), strict=True):
        affine, array = plain.affine[:, [*axes, 3]].copy(), plain.array.transpose(axes)
        for axis in flips:
            affine[:3, 3] += affine[:3, axis] * (array.shape[axis] - 1)
            affine[:3, axis] *= -1
        spacing = tuple(plain.spacing_mm[axis] for axis in axes)
        image = Volume(np.flip(array, flips), affine, (spacing[0], spacing[1], spacing[2]))
        assert np.array_equal(predictor.predict(image).mask, np.flip(expected.transpose(axes), flips))
