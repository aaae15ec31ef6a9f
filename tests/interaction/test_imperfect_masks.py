import pytest
import torch
from torch import Tensor

from pipelines.interaction.imperfect_masks import ImperfectMasks

NOTHING = {"border": 0.0, "lost": 0.0, "empty": 0.0, "swapped": 0.0, "spurious": 0.0}


@pytest.fixture
def classes() -> Tensor:
    """Sixteen times three slices with discs of RV, MYO and LV; those of the last slice are smaller."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    index = torch.zeros(3, 64, 64, dtype=torch.long)
    for z, shrunk in enumerate((0, 0, 6)):
        index[z][torch.hypot(rows - 32.0, columns - 48.0) < 12 - shrunk / 2] = 1
        index[z][torch.hypot(rows - 32.0, columns - 28.0) < 18 - shrunk] = 2
        index[z][torch.hypot(rows - 32.0, columns - 28.0) < 11 - shrunk] = 3
    return torch.nn.functional.one_hot(index, 4).permute(0, 3, 1, 2).float().expand(16, 3, 4, 64, 64)


def test_without_faults_a_mask_stays_as_it_is_but_for_single_border_pixels(classes: Tensor) -> None:
    found = ImperfectMasks(**NOTHING).apply(classes)
    assert (found != classes).float().mean() < 0.01


def test_every_pixel_has_exactly_one_class(classes: Tensor) -> None:
    torch.manual_seed(0)
    found = ImperfectMasks(border=1.0, lost=0.5, empty=0.2, swapped=0.5, spurious=0.5).apply(classes)
    assert found.shape == classes.shape
    assert torch.equal(found.sum(dim=2), torch.ones(16, 3, 64, 64))
    assert set(found.unique().tolist()) == {0.0, 1.0}


def test_border_noise_moves_borders_and_neighbouring_slices_alike(classes: Tensor) -> None:
    torch.manual_seed(0)
    found = ImperfectMasks(**{**NOTHING, "border": 0.5}, alike=1.0).apply(classes)
    wrong = (found != classes).any(dim=2)
    assert 0.01 < wrong.float().mean() < 0.3
    assert torch.equal(found[:, 0], found[:, 1])


def test_an_empty_slice_has_background_only(classes: Tensor) -> None:
    found = ImperfectMasks(**{**NOTHING, "empty": 1.0}).apply(classes)
    assert found[:, 1, 0].min() == 1


def test_a_swapped_slice_is_drawn_as_one_beside_it(classes: Tensor) -> None:
    torch.manual_seed(0)
    plain = ImperfectMasks(**NOTHING).apply(classes)
    found = ImperfectMasks(**{**NOTHING, "swapped": 1.0}).apply(classes)
    beside = [bool(torch.equal(found[item, 1], plain[item, 2])) for item in range(16)]
    before = [bool(torch.equal(found[item, 1], plain[item, 0])) for item in range(16)]
    assert any(beside)
    assert all(first or second for first, second in zip(beside, before, strict=True))


def test_part_of_a_structure_is_lost_and_nothing_else_appears(classes: Tensor) -> None:
    torch.manual_seed(0)
    plain = ImperfectMasks(**NOTHING).apply(classes)
    found = ImperfectMasks(**{**NOTHING, "lost": 1.0}).apply(classes)
    assert all(float(found[item, 1, 1:].sum()) < float(plain[item, 1, 1:].sum()) + 1 for item in range(16))
    assert (found[:, 1] != plain[:, 1]).flatten(1).any(dim=1).float().mean() > 0.8


def test_spurious_structures_appear_about_the_heart_only(classes: Tensor) -> None:
    torch.manual_seed(0)
    far = classes.roll(-20, dims=3)[..., :32, :32].clone()
    far[:, :, 1:], far[:, :, 0] = 0.0, 1.0
    assert torch.equal(ImperfectMasks(**{**NOTHING, "spurious": 1.0}).apply(far), far)
    plain = ImperfectMasks(**NOTHING).apply(classes)
    assert (ImperfectMasks(**{**NOTHING, "spurious": 1.0}).apply(classes) != plain).any()
