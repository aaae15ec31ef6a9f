from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.volume import check_same_grid, read_label, read_volume
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.prepare import prepare_acdc, read_datalist, select
from pipelines.interaction.corrector import LAYOUT
from pipelines.interaction.simulation import (
    ImperfectMasks,
    SimulatedCorrection,
    mask_path,
    reached_faults,
    with_unseen_masks,
    write_unseen_masks,
)
from pipelines.transforms.augment import IntensityAugmentation, SpatialAugmentation

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


STILL = SpatialAugmentation(
    rotation_deg=0, scale=0, anisotropy=0, shift=0, anywhere=0, flip=0, elastic_probability=0
)
SOUND = ImperfectMasks(border=0, lost=0, empty=0, swapped=0, spurious=0)


class Copies(nn.Module):
    """Gives the present mask back, as logits."""

    def forward(self, channels: Tensor) -> Tensor:
        present = channels[:, 3:6]
        return torch.cat((1 - present.sum(dim=1, keepdim=True), present), dim=1)


def batch(count: int = 4) -> dict[str, Tensor]:
    label = torch.zeros(count, 3, 64, 64, dtype=torch.uint8)
    label[:, :, 20:40, 20:40] = 3
    label[:, :, 20:40, 42:52] = 1
    return {"image": torch.randn(count, 3, 64, 64), "label": label, "center": torch.zeros(count, 2)}


def simulation(**given: Any) -> SimulatedCorrection:
    usual: dict[str, Any] = {
        "spatial": STILL,
        "intensity": IntensityAugmentation(share=0),
        "faults": ImperfectMasks(),
        "variations": SOUND,
        "varied": 0.0,
    }
    return SimulatedCorrection(Copies(), (64, 64), **(usual | given))


def test_a_batch_has_a_channel_for_each_name_and_labels_of_one_slice() -> None:
    torch.manual_seed(0)
    made = simulation()(batch())
    assert made["image"].shape == (4, len(LAYOUT), 64, 64)
    assert made["label"].shape == (4, 1, 64, 64)
    assert made["label"].dtype == torch.int64


def test_a_click_lies_on_a_fault_and_tells_the_true_label() -> None:
    torch.manual_seed(1)
    faults = ImperfectMasks(border=0, lost=0, empty=1, swapped=0, spurious=0)
    made = simulation(faults=faults, elsewhere=0.0, misplaced=0.0, earlier_clicks=0)(batch())
    clicks, truth = made["image"][:, LAYOUT.index("clicks background") :][:, :4], batch()["label"][:, 1]
    for item in range(4):
        kind, row, column = np.unravel_index(int(clicks[item].argmax()), (4, 64, 64))
        assert truth[item, row, column] == kind == 3
        assert clicks[item].max() == 1


def test_the_goal_mends_the_faults_that_the_click_reaches_and_leaves_the_others() -> None:
    torch.manual_seed(0)
    faults = ImperfectMasks(border=0, lost=0, empty=1, swapped=0, spurious=0)
    made = simulation(faults=faults, elsewhere=0.0, misplaced=0.0, earlier_clicks=0)(batch())
    assert made["image"][:, 3:6].sum() == 0
    assert torch.equal(made["label"][:, 0] == 3, batch()["label"][:, 1] == 3)
    present, truth = np.zeros((40, 40), np.uint8), np.zeros((40, 40), np.uint8)
    truth[2:6, 2:6], truth[30:36, 30:36] = 1, 3
    assert np.array_equal(reached_faults(present, truth, (4, 4)), truth == 1)
    assert not reached_faults(truth, truth, (4, 4)).any()


def test_a_click_in_a_neighbouring_slice_is_on_the_channels_of_the_neighbours() -> None:
    torch.manual_seed(0)
    made = simulation(elsewhere=1.0)(batch())
    own = LAYOUT.index("clicks background")
    assert made["image"][:, own : own + 4].sum() == 0
    assert (made["image"][:, own + 4 : own + 8].amax(dim=(1, 2, 3)) > 0.5).all()


def test_misplaced_clicks_are_off_the_fault_by_a_few_pixels() -> None:
    faults = ImperfectMasks(border=0, lost=0, empty=1, swapped=0, spurious=0)
    settings = {"faults": faults, "elsewhere": 0.0, "earlier_clicks": 0, "misplacement_px": 2.0}
    newest = LAYOUT.index("newest click")
    torch.manual_seed(0)
    right = simulation(**settings, misplaced=0.0)(batch(16))["image"][:, newest].flatten(1).argmax(dim=1)
    torch.manual_seed(0)
    off = simulation(**settings, misplaced=1.0)(batch(16))["image"][:, newest].flatten(1).argmax(dim=1)
    distance = torch.hypot((right // 64 - off // 64).float(), (right % 64 - off % 64).float())
    assert 0 < distance.max() < 64
    assert (distance > 0).float().mean() > 0.5


def with_masks(count: int = 4) -> dict[str, Tensor]:
    """The batch with masks of a network that has lost the RV."""
    made = batch(count)
    mask = made["label"].clone()
    mask[mask == 1] = 0
    return made | {"label": torch.cat((made["label"], mask), dim=1)}


def test_a_mask_of_a_network_is_the_present_one_and_the_label_is_wanted() -> None:
    torch.manual_seed(0)
    settings = {"faults": SOUND, "elsewhere": 0.0, "misplaced": 0.0, "earlier_clicks": 0}
    made = simulation(**settings, unseen=1.0, exchanged=0.0)(with_masks())
    assert made["image"][:, LAYOUT.index("present rv at offset 0")].sum() == 0
    assert torch.equal(made["label"][:, 0], batch()["label"][:, 1].long())


def test_in_an_exchanged_pair_the_mask_of_the_network_is_wanted() -> None:
    torch.manual_seed(0)
    settings = {"faults": SOUND, "elsewhere": 0.0, "misplaced": 0.0, "earlier_clicks": 0}
    made = simulation(**settings, unseen=1.0, exchanged=1.0)(with_masks())
    assert (made["image"][:, LAYOUT.index("present rv at offset 0")].sum(dim=(1, 2)) == 20 * 10).all()
    assert torch.equal(made["label"][:, 0], with_masks()["label"][:, 4].long())


def test_without_a_share_of_them_the_masks_of_a_network_are_left_out() -> None:
    torch.manual_seed(0)
    made = simulation(faults=SOUND, elsewhere=0.0, earlier_clicks=0, unseen=0.0)(with_masks())
    assert (made["image"][:, LAYOUT.index("present rv at offset 0")].sum(dim=(1, 2)) > 150).all()


def test_the_same_seed_gives_the_same_batch_and_the_network_stays_in_training() -> None:
    made = []
    for _ in range(2):
        torch.manual_seed(5)
        simulate = simulation(varied=0.5, variations=ImperfectMasks())
        simulate.network.train()
        made.append(simulate(batch()))
        assert simulate.network.training
    assert all(torch.equal(made[0][key], made[1][key]) for key in ("image", "label"))


SMALL: dict[str, Any] = {"precision": "fp32", "max_epochs": 1, "patch_px": [32, 32]}


def items(*names: str) -> list[dict[str, Any]]:
    return [{"image": f"data/{name}.nii.gz", "fingerprint": "1"} for name in names]


def test_without_a_folder_items_stay_as_they_are() -> None:
    assert with_unseen_masks(items("a"), None) == items("a")


def test_items_get_their_mask_and_a_fingerprint_that_tells_of_it(tmp_path: Path) -> None:
    path = mask_path(tmp_path, "data/a.nii.gz")
    path.write_bytes(b"one")
    (first,) = with_unseen_masks(items("a"), tmp_path)
    path.write_bytes(b"two")
    (second,) = with_unseen_masks(items("a"), tmp_path)
    assert first["mask"] == second["mask"] == str(tmp_path / "a.nii.gz")
    assert len({first["fingerprint"], second["fingerprint"], "1"}) == 3


def test_a_mask_that_is_missing_is_named(tmp_path: Path) -> None:
    mask_path(tmp_path, "a.nii.gz").touch()
    with pytest.raises(DataError, match=r"b\.nii\.gz.*unseen-masks"):
        with_unseen_masks(items("a", "b"), tmp_path)


@pytest.mark.slow
def test_each_half_is_segmented_by_the_network_trained_on_the_other(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "data", patients=5, frames=3, cine=False)
    prepare_acdc(tmp_path / "data", tmp_path / "acdc")
    training = select(read_datalist(tmp_path / "acdc"), "training", 0)
    masks = tmp_path / "masks"
    settings = SMALL | {"cache_dir": str(tmp_path / "cache")}
    written = write_unseen_masks("unet", tmp_path / "acdc", masks, overlays=["smoke"], **settings)
    assert {path.name for path in written} == {Path(item["image"]).name for item in training}
    segmented = []
    for number in range(2):
        run = read_datalist(masks / f"run_{number}")
        known = {item["patient"] for item in select(run, "training", 0)}
        segmented.append({item["patient"] for item in select(run, "validation", 0)})
        assert segmented[-1] == {item["patient"] for item in training} - known
    assert not segmented[0] & segmented[1]
    first = [read_label(path).array for path in written]
    for item in with_unseen_masks(training, masks):
        check_same_grid(read_volume(Path(item["image"])), read_label(Path(item["mask"])))
    for path in (*written, masks / "run_1" / "best.pt", masks / "run_1" / "last.pt"):
        path.unlink()
    with pytest.raises(ConfigError, match="expected an empty run folder"):
        write_unseen_masks("unet", tmp_path / "acdc", masks, overlays=["smoke"], **settings)
    again = write_unseen_masks("unet", tmp_path / "acdc", masks, overlays=["smoke"], resume=True, **settings)
    assert again == written
    assert all(np.array_equal(read_label(path).array, old) for path, old in zip(again, first, strict=True))


def test_a_single_patient_cannot_be_halved(tmp_path: Path) -> None:
    write_phantom_cohort(tmp_path / "data", patients=3, frames=3, cine=False)
    prepare_acdc(tmp_path / "data", tmp_path / "acdc")
    with pytest.raises(DataError, match="at least 2 patients"):
        write_unseen_masks("unet", tmp_path / "acdc", tmp_path / "masks")
