from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pipelines.interaction.channels import LAYOUT
from pipelines.interaction.imperfect_masks import ImperfectMasks
from pipelines.interaction.simulation import SimulatedCorrection, reached_faults
from pipelines.transforms.intensity import IntensityAugmentation
from pipelines.transforms.spatial import SpatialAugmentation

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
