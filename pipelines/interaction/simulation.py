"""Training batches of the correcting network: masks that fail, and a user who clicks on the faults."""

from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import label
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.core.labels import AcdcLabel
from pipelines.interaction.channels import bell, input_channels
from pipelines.interaction.clicks import Mask, SliceError, largest_slice_error
from pipelines.interaction.imperfect_masks import ImperfectMasks
from pipelines.transforms.intensity import IntensityAugmentation
from pipelines.transforms.spatial import SpatialAugmentation

SLICES: Final = 3
"""The slice that is corrected and its two neighbours."""

MIDDLE: Final = 1
"""Index of the slice that is corrected among its neighbours."""

REACH_PX: Final = 8
"""Distance from a click within which a fault is meant by it, pixels."""

MENDED: Final = 0.7
"""Share of clicks in a neighbouring slice that have mended the fault there."""


class SimulatedCorrection:
    """Turns a batch of slices with labels into what the network sees while a user corrects it.

    The true mask is the label, or now and then a plausible variation of it, so that the network has
    to follow the clicks and cannot know the answer from images it has seen before. The present mask
    is that with faults, or the mask that a network gave which had not seen the image: its mistakes are
    those met in use. Such a pair is now and then exchanged, for the same reason. Then a user clicks a
    few times in a row: before each click but the first, the network itself has corrected the mask. Some
    clicks lie in a neighbouring slice, some are misplaced, some hit the same fault again.

    What the network shall give is the present mask with those faults mended that the last click
    reaches: it learns to leave alone what nobody complains about.

    Randomness comes from torch's global generator.

    Args:
        network: Network in training.
        spatial_size: Height and width of the slices that leave, in pixels.
        spatial: Ranges of the geometry.
        intensity: Ranges of the contrast changes.
        faults: What is wrong with the present mask.
        variations: How the true mask varies from the label.
        varied: Share of the batch whose true mask varies.
        unseen: Share of the batch whose present mask is a network's, where the batch has those.
        exchanged: Share of these whose label is present and whose mask is true.
        earlier_clicks: Largest number of clicks before the last, and of passes through the network.
        elsewhere: Share of the batch whose clicks lie in a neighbouring slice.
        misplaced: Share of clicks that are off.
        misplacement_px: Standard deviation of that along each axis, in pixels.
        dtype: Type of the network's fast operations, None for float32.
    """

    def __init__(
        self,
        network: nn.Module,
        spatial_size: Sequence[int],
        *,
        spatial: SpatialAugmentation,
        intensity: IntensityAugmentation,
        faults: ImperfectMasks,
        variations: ImperfectMasks,
        varied: float = 0.5,
        unseen: float = 0.6,
        exchanged: float = 0.25,
        earlier_clicks: int = 2,
        elsewhere: float = 0.3,
        misplaced: float = 0.4,
        misplacement_px: float = 1.5,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.network = network
        self.spatial_size = (int(spatial_size[0]), int(spatial_size[1]))
        self.spatial, self.intensity = spatial, intensity
        self.faults, self.variations, self.varied = faults, variations, varied
        self.unseen, self.exchanged = unseen, exchanged
        self.earlier_clicks = earlier_clicks
        self.elsewhere = elsewhere
        self.misplaced, self.misplacement_px = misplaced, misplacement_px
        self.dtype = dtype

    def __call__(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`image` `(B, 21, h, w)` float32 in the order of `LAYOUT`, and `label` `(B, 1, h, w)` int64.

        Args:
            batch: `image` `(B, 3, H, W)`, `label` `(B, 3, H, W)` of the same three slices, or
                `(B, 6, H, W)` with the masks of a network after them, and `center` `(B, 2)` of the
                heart, -1 to 1.
        """
        image, classes = self._augmented(batch)
        present, truth = self._masks(classes)
        scene = _Scene(image, present, truth)
        where = self._places(len(truth))
        for _ in range(int(torch.randint(0, self.earlier_clicks + 1, ()))):
            self._click(scene, where)
            scene.present[:, MIDDLE] = self._predicted(scene.inputs())
        self._click(scene, where)
        return {"image": scene.inputs(), "label": scene.goal()}

    def _masks(self, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Present and true masks, each `(B, 3, 4, h, w)` one-hot."""
        label = classes[:, :SLICES]
        truth = torch.where(self._chosen(classes, self.varied), self.variations.apply(label), label)
        present = self.faults.apply(truth)
        if classes.shape[1] > SLICES:
            mask = classes[:, SLICES:]
            unseen = self._chosen(classes, self.unseen)
            exchanged = self._chosen(classes, self.exchanged)
            truth = torch.where(unseen, torch.where(exchanged, mask, label), truth)
            present = torch.where(unseen, torch.where(exchanged, label, mask), present)
        return present, truth

    def _chosen(self, classes: Tensor, share: float) -> Tensor:
        return torch.rand(len(classes), 1, 1, 1, 1, device=classes.device) < share

    def _augmented(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """`(B, 3, h, w)` image and `(B, 3 or 6, 4, h, w)` one-hot masks after one resampling."""
        image = batch["image"]
        kinds = torch.arange(len(AcdcLabel), device=image.device).view(1, 1, -1, 1, 1)
        classes = (batch["label"][:, :, None] == kinds).float()
        grid = self.spatial.sampling_grid(image.shape, batch["center"], self.spatial_size)
        stacked = torch.cat((image.float(), classes.flatten(1, 2)), dim=1)
        sampled = F.grid_sample(stacked, grid, mode="bilinear", padding_mode="border", align_corners=False)
        soft = sampled[:, SLICES:].unflatten(1, (-1, len(AcdcLabel)))
        return self.intensity.apply(sampled[:, :SLICES]), _one_hot(soft, dim=2)

    def _places(self, count: int) -> Tensor:
        """`(B,)` index of the slice of the three in which the user clicks."""
        sides = 2 * torch.randint(0, 2, (count,))
        return torch.where(torch.rand(count) < self.elsewhere, sides, MIDDLE)

    def _click(self, scene: "_Scene", where: Tensor) -> None:
        """Add a click to each item; a fault in a neighbouring slice is mostly mended by it."""
        spots, kinds = [], []
        for item, place in enumerate(where.tolist()):
            present, truth = scene.labels(item, place)
            found = largest_slice_error(present, truth)
            spot = self._spot(found, self.spatial_size)
            kinds.append(int(found.label) if found is not None else int(truth[spot]))
            spots.append(spot)
            if place != MIDDLE and float(torch.rand(())) < MENDED:
                mended = torch.from_numpy(reached_faults(present, truth, spot)).to(scene.truth.device)
                scene.present[item, place] = torch.where(
                    mended, scene.truth[item, place], scene.present[item, place]
                )
        off = torch.rand(len(where), 1) < self.misplaced
        centers = torch.tensor(spots) + off * self.misplacement_px * torch.randn(len(where), 2)
        scene.add(bell(centers.to(scene.image.device), self.spatial_size), kinds, where.tolist(), spots)

    def _spot(self, found: SliceError | None, shape: tuple[int, int]) -> tuple[int, int]:
        """The middle of a fault, often any pixel of it; anywhere if nothing is wrong."""
        if found is None:
            return int(torch.randint(0, shape[0], ())), int(torch.randint(0, shape[1], ()))
        if float(torch.rand(())) < 0.7:
            return found.center
        pixels = np.argwhere(found.region)
        row, column = pixels[int(torch.randint(0, len(pixels), ()))]
        return int(row), int(column)

    def _predicted(self, inputs: Tensor) -> Tensor:
        """`(B, 4, h, w)` one-hot, by the network as it is."""
        training = self.network.training
        self.network.eval()
        with torch.no_grad(), torch.autocast(inputs.device.type, self.dtype, enabled=self.dtype is not None):
            logits: Tensor = self.network(inputs)
        self.network.train(training)
        return _one_hot(logits.float(), dim=1)


class _Scene:
    """Image, masks and clicks of a batch while a user clicks."""

    def __init__(self, image: Tensor, present: Tensor, truth: Tensor) -> None:
        self.image, self.present, self.truth = image, present, truth
        count, _, kinds, height, width = truth.shape
        self._clicks = torch.zeros(count, kinds, height, width, device=image.device)
        self._neighbour_clicks = torch.zeros_like(self._clicks)
        self._newest = torch.zeros(count, 1, height, width, device=image.device)
        self._spots: list[tuple[int, int]] = []

    def add(
        self, bells: Tensor, kinds: Sequence[int], where: Sequence[int], spots: list[tuple[int, int]]
    ) -> None:
        for item, (kind, place) in enumerate(zip(kinds, where, strict=True)):
            maps = self._clicks if place == MIDDLE else self._neighbour_clicks
            maps[item, kind] = torch.maximum(maps[item, kind], bells[item])
        self._newest, self._spots = bells[:, None], spots

    def labels(self, item: int, place: int) -> tuple[Mask, Mask]:
        """Present and true label map `(h, w)` of one slice."""
        present, truth = (
            mask[item, place].max(dim=0).indices.to(torch.uint8).cpu().numpy()
            for mask in (self.present, self.truth)
        )
        return present, truth

    def goal(self) -> Tensor:
        """`(B, 1, h, w)` int64, the present masks without the faults that the last clicks reach."""
        goals = []
        for item, spot in enumerate(self._spots):
            present, truth = self.labels(item, MIDDLE)
            goals.append(np.where(reached_faults(present, truth, spot), truth, present))
        return torch.from_numpy(np.stack(goals)[:, None].astype(np.int64)).to(self.image.device)

    def inputs(self) -> Tensor:
        return input_channels(self.image, self.present, self._clicks, self._neighbour_clicks, self._newest)


def reached_faults(present: Mask, truth: Mask, spot: tuple[int, int]) -> npt.NDArray[np.bool_]:
    """`(H, W)`, the connected wrong regions that come within `REACH_PX` of a pixel."""
    regions, _ = label(present != truth)
    rows, columns = np.ogrid[: present.shape[0], : present.shape[1]]
    near = (rows - spot[0]) ** 2 + (columns - spot[1]) ** 2 <= REACH_PX**2
    reached = np.unique(regions[near])
    return np.isin(regions, reached[reached > 0])


def _one_hot(scores: Tensor, *, dim: int) -> Tensor:
    # On a CPU, max finds the class many times faster than argmax.
    index = scores.max(dim=dim, keepdim=True).indices
    return torch.zeros_like(scores).scatter_(dim, index, 1.0)
