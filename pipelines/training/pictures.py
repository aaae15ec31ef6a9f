"""Pictures of validation volumes in TensorBoard."""

import numpy as np
import torch
from ignite.engine import Engine, Events
from torch.utils.tensorboard import SummaryWriter

from pipelines.core.labels import LABEL_COLORS, AcdcLabel


class VolumePictures:
    """The worst and the median volume of a validation, truth beside prediction.

    Args:
        evaluator: Validation engine whose output holds `image`, `label` and `pred`.
    """

    def __init__(self, evaluator: Engine) -> None:
        self._pictures: list[tuple[float, torch.Tensor]] = []
        evaluator.add_event_handler(Events.ITERATION_COMPLETED, self._keep)

    def _keep(self, evaluator: Engine) -> None:
        for item in evaluator.state.output:
            image, label, prediction = (
                torch.as_tensor(item[key]).cpu() for key in ("image", "label", "pred")
            )
            both = (label[1:] * prediction[1:]).sum()
            dice = float(2 * both / (label[1:].sum() + prediction[1:].sum()).clamp_min(1))
            self._pictures.append((dice, _picture(image, label, prediction)))

    def draw(self, writer: SummaryWriter, epoch: int) -> None:
        """Write the worst and the median volume since the last call, and forget all."""
        if not self._pictures:
            return
        ranked = sorted(self._pictures, key=lambda pair: pair[0])
        for name, index in (("worst", 0), ("median", len(ranked) // 2)):
            dice, picture = ranked[index]
            writer.add_image(f"{name}: truth left, prediction right", picture, epoch, dataformats="HWC")
            writer.add_scalar(f"dice of the {name} case", dice, epoch)
        self.forget()

    def forget(self) -> None:
        """Forget the volumes since the last call."""
        self._pictures = []


def _picture(image: torch.Tensor, label: torch.Tensor, prediction: torch.Tensor) -> torch.Tensor:
    """`(H, 2 W, 3)` uint8 of the slice with the most labelled voxels.

    The image may be on the network's grid and is shown only through the masks' own grid size.
    """
    z = int(label[1:].sum(dim=(0, 1, 2)).argmax())
    slice_ = image[len(image) // 2, :, :, min(z, image.shape[-1] - 1)][None, None].float()
    grey = torch.nn.functional.interpolate(slice_, label.shape[1:3], mode="bilinear")[0, 0]
    low, high = np.percentile(grey.numpy(), [1, 99])
    grey = ((grey - low) / max(high - low, 1e-6)).clamp(0, 1)
    halves = [_tinted(grey, mask[..., z]) for mask in (label, prediction)]
    return (torch.cat(halves, dim=1) * 255).to(torch.uint8)


def _tinted(grey: torch.Tensor, onehot: torch.Tensor) -> torch.Tensor:
    picture = grey[..., None].repeat(1, 1, 3)
    for structure, color in LABEL_COLORS.items():
        rgb = torch.tensor([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)])
        inside = onehot[AcdcLabel(structure)].bool()
        picture[inside] = 0.6 * picture[inside] + 0.4 * rgb
    return picture
