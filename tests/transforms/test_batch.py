"""Some images of a batch are changed, and only they are worked on."""

import torch
from torch import Tensor

from pipelines.transforms.batch import change_some


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
