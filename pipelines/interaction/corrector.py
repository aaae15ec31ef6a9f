"""Correct a label map by clicks: the region around a click changes as the network sees it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, Self

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import distance_transform_edt, label
from torch import Tensor
from torch.nn import functional as F

from pipelines.core.errors import DataError
from pipelines.core.plausibility import stack_order
from pipelines.core.records import AcdcLabel
from pipelines.core.volume import Volume, slices_last
from pipelines.interaction.clicks import Click, Mask
from pipelines.models.bundle import ACDC_BUNDLE, CORRECTOR, device_settings
from pipelines.models.heart import Member, field_affine, to_native_box

CLICK_SIGMA_PX: Final = 3.0
"""Standard deviation of the bell that stands for a click, pixels of the network's grid."""

LAYOUT: Final = (
    *(f"image at offset {offset}" for offset in (-1, 0, 1)),
    *(f"present {name} at offset {offset}" for offset in (0, -1, 1) for name in ("rv", "myo", "lv")),
    *(f"clicks {name}" for name in ("background", "rv", "myo", "lv")),
    *(f"clicks {name} in the neighbouring slices" for name in ("background", "rv", "myo", "lv")),
    "newest click",
)
"""Names of the channels in order."""


def input_channels(
    image: Tensor, present: Tensor, clicks: Tensor, neighbour_clicks: Tensor, newest: Tensor
) -> Tensor:
    """Channels of a batch of slices in the order of `LAYOUT`.

    Args:
        image: `(B, 3, H, W)`, the slice between its neighbours.
        present: `(B, 3, 4, H, W)`, share of each class at offsets -1, 0 and 1.
        clicks: `(B, 4, H, W)`, bells of the clicks in the slice, by class.
        neighbour_clicks: `(B, 4, H, W)`, those of the slices before and after it.
        newest: `(B, 1, H, W)`, bell of the click to act on, in whichever of the three slices.

    Returns:
        `(B, 21, H, W)` float32, channels last in memory.
    """
    before, this, after = (present[:, index, 1:] for index in range(3))
    stacked = torch.cat((image, this, before, after, clicks, neighbour_clicks, newest), dim=1)
    return stacked.float().contiguous(memory_format=torch.channels_last)


def bell(center: Tensor, shape: Sequence[int]) -> Tensor:
    """Bells `(B, H, W)` of height 1 at `center` `(B, 2)`, row and column in pixels."""
    rows = torch.arange(shape[0], device=center.device)
    columns = torch.arange(shape[1], device=center.device)
    squared = (rows[None, :, None] - center[:, 0, None, None]) ** 2 + (
        columns[None, None, :] - center[:, 1, None, None]
    ) ** 2
    return torch.exp(-squared / (2 * CLICK_SIGMA_PX**2))


Affine = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Window:
    """A square of the network's field of view.

    Attributes:
        corner: First row and column.
        size: Side in pixels.
        scale: Pixels of the field for each voxel, along rows and columns.
        origin: Row and column in the field of the volume's first voxel.
    """

    corner: tuple[int, int]
    size: int
    scale: tuple[float, float]
    origin: tuple[float, float]

    @classmethod
    def around(
        cls,
        click: Click,
        size: int,
        field_affine: Affine,
        native_affine: Affine,
        field_shape: tuple[int, ...],
    ) -> Self:
        """Window with the click in its middle, as far as the field goes.

        Args:
            click: On the volume with slices last.
            size: Side in pixels, at most that of the field.
            field_affine: 4 x 4, of the network's field.
            native_affine: 4 x 4, of the volume, with axes as those of the field.
            field_shape: Rows and columns of the field.
        """
        to_field = np.linalg.inv(field_affine) @ native_affine
        scale = (float(to_field[0, 0]), float(to_field[1, 1]))
        origin = (float(to_field[0, 3]), float(to_field[1, 3]))
        corner = []
        for axis, place in enumerate((click.i, click.j)):
            first = round(scale[axis] * place + origin[axis] - size / 2)
            corner.append(min(max(first, 0), field_shape[axis] - size))
        return cls((corner[0], corner[1]), size, scale, origin)

    @property
    def box(self) -> tuple[slice, slice]:
        """Rows and columns of the field."""
        return slice(self.corner[0], self.corner[0] + self.size), slice(
            self.corner[1], self.corner[1] + self.size
        )

    def affine(self, field_affine: Affine) -> Affine:
        """Affine of the window's pixels, 4 x 4."""
        shift = np.eye(4)
        shift[:2, 3] = self.corner
        moved: Affine = field_affine @ shift
        return moved

    def position(self, click: Click) -> Tensor:
        """`(1, 2)` float32, row and column of a click among the window's pixels, not rounded."""
        places = [
            self.scale[axis] * place + self.origin[axis] - self.corner[axis]
            for axis, place in enumerate((click.i, click.j))
        ]
        return torch.tensor([places])

    def to_field(self, masks: Mask) -> Tensor:
        """One-hot masks `(S, 4, h, w)` float32 in the window of label maps `(X, Y, S)`.

        Classes are resampled as shares, and the largest share wins; beyond the volume is background.
        """
        kinds = torch.arange(len(AcdcLabel)).view(1, -1, 1, 1)
        native = torch.from_numpy(np.ascontiguousarray(masks)).movedim(-1, 0)[:, None]
        lines = []
        for axis, length in enumerate(masks.shape[:2]):
            field = torch.arange(self.size) + self.corner[axis]
            voxel = (field - self.origin[axis]) / self.scale[axis]
            lines.append((2 * voxel + 1) / length - 1)
        grid = torch.stack(torch.meshgrid(*lines, indexing="ij")[::-1], dim=-1).float()
        shares = F.grid_sample(
            (native == kinds).float()[:, 1:],
            grid.expand(len(native), *grid.shape),
            mode="bilinear",
            padding_mode="zeros",
            align_corners=False,
        )
        shares = torch.cat((1 - shares.sum(dim=1, keepdim=True), shares), dim=1)
        index = shares.max(dim=1, keepdim=True).indices
        return torch.zeros_like(shares).scatter_(1, index, 1.0)


Scores = npt.NDArray[np.float32]

Region = npt.NDArray[np.bool_]
"""`(X, Y)` of a slice."""

AT_BORDER: Final = 3.0
"""What a click adds to the log-probability of its label, against the present one, next to where the mask has
that label already,"""

PER_DEPTH: Final = (2.0, 5.0)
"""and what this falls by for each distance as far from there as the click's: up to it, and beyond. Who clicks
in the middle of a fault means one twice as wide, however long it is along the border."""

MIN_DEPTH_MM: Final = 0.7
"""Least distance that counts as that of the click, mm."""

NEIGHBOUR_INERTIA: Final = 3.0
"""What the present label is ahead in the slices before and after that of the click, of which it says less."""

ISLAND_DEPTH: Final = 1.25
"""A connected region that is nowhere deeper than so many times the click is meant as a whole:"""

CERTAIN: Final = 100.0
"""that is added there, more than a network holds against it."""

CLICK_FALLOFF_MM: Final = 4.0
"""Standard deviation of the bell by which a click that is ignored even so is imposed, mm in plane."""


def added_by_click(present: Mask, click: Click, spacing_mm: npt.ArrayLike) -> Scores:
    """What a click adds to the log-probability of its label, against the present one.

    Args:
        present: `(X, Y)`, the mask in the slice of the click.
        click: In that slice.
        spacing_mm: Size of a pixel along each axis, mm.

    Returns:
        `(X, Y)` float32: `CERTAIN` in an island within the label, of whose middle the click is; 0 where the
        slice lacks the label, since the network alone knows how large a new structure is.
    """
    here, clicked = click.index[:2], np.zeros(present.shape, dtype=bool)
    if not (present == click.label).any():
        return np.zeros(present.shape, dtype=np.float32)
    depth_mm = distance_transform_edt(present != click.label, spacing_mm)
    depths = depth_mm / max(float(depth_mm[here]), MIN_DEPTH_MM)
    near, far = PER_DEPTH
    added = AT_BORDER - near * depths - (far - near) * np.maximum(depths - 1, 0)
    clicked[here] = present[here] != click.label
    clicked = connected(present == present[here], clicked)
    if 0 in (click.label, present[here]) and depths[clicked].max(initial=0) <= ISLAND_DEPTH:  # 0: background
        added[clicked] = CERTAIN
    return added.astype(np.float32)


def impose_click(ahead: Scores, distance_mm: npt.NDArray[np.float64]) -> None:
    """Make a click's label the best one where it lies, and fade what that takes around it, in place.

    Args:
        ahead: `(x, y)`, what the click's label is ahead of the present one, in log-probability.
        distance_mm: `(x, y)`, distance of each pixel to the click, 0 where it lies.
    """
    lack = -float(ahead[distance_mm == 0].max(initial=-np.inf))
    if 0 <= lack < np.inf:
        ahead += (1.1 * lack + 0.1) * np.exp(-(distance_mm**2) / (2 * CLICK_FALLOFF_MM**2))


def connected(changed: Region, with_this: Region) -> Region:
    """`(x, y)`, the connected parts of what changes that share a pixel with another region."""
    parts, _ = label(changed)
    shared = np.unique(parts[with_this])
    return np.isin(parts, shared[shared > 0])


WINDOW_PX: Final = 64
"""Side of the square around a click that the network sees, pixels of its grid."""


REACH_MM: Final = 60.0
"""Farthest pixel of the slice of the click that may change, mm in plane; what lies beyond stays as it is."""

NEIGHBOUR_REACH_MM: Final = 30.0
"""The same in the slices before and after it."""

REACH_WIDTHS: Final = 4.0
"""Nor may a pixel change that is farther than so many times the distance from the click to where the mask has
its label already, since a small fault is mended nearby,"""

REACH_BORDER_MM: Final = 6.0
"""plus this."""


class Corrector:
    """The correcting network with its weights, ready to correct volumes one after the other.

    Args:
        member: Network, transforms and device.
    """

    def __init__(self, member: Member) -> None:
        self.member = member

    @classmethod
    def load(
        cls,
        *,
        bundle: Path = ACDC_BUNDLE,
        weights: Path | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Corrector":
        """The corrector of a bundle, as its configuration describes it.

        Args:
            bundle: Root folder of the bundle.
            weights: File to use instead of the bundle's own.
            device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
            precision: `"auto"`, `"bf16"` or `"fp32"`.

        Raises:
            ConfigError: If weights are missing or do not fit.
        """
        settings = device_settings(device, precision)
        return cls(Member.load(CORRECTOR, bundle=bundle, weights=weights, **settings))

    def open(self, volume: Volume) -> "Correction":
        """Prepare a volume, so that each click on it takes a fraction of a second.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            DataError: If the volume is not 3-D.
        """
        return Correction(self, volume)


class Correction:
    """A volume that is being corrected.

    Args:
        corrector: Network and settings.
        volume: `(X, Y, Z)` image; the slice axis may be any.

    Raises:
        DataError: If the volume is not 3-D.
    """

    def __init__(self, corrector: Corrector, volume: Volume) -> None:
        if volume.array.ndim != 3:
            raise DataError(
                f"expected one frame (3-D), found {volume.array.shape}; give the frames one by one"
            )
        self.shape = volume.array.shape
        self._order = stack_order(volume.affine, volume.spacing_mm, is_oriented=volume.is_oriented)
        self.axis = self._order.axes[2]
        self._corrector = corrector
        stack, _ = slices_last(volume)
        self._spacing_mm = np.asarray(stack.spacing_mm[:2])
        self._native_affine = field_affine(stack)
        with torch.inference_mode():
            field = corrector.member.prepare(stack)
        self._field_affine = field.affine.numpy()
        self._image = field.as_tensor().movedim(-1, 0)

    def correct(
        self,
        mask: Mask,
        clicks: Sequence[Click],
        *,
        settled: Sequence[Click] = (),
        one_slice: bool = False,
    ) -> Mask:
        """Label map after clicks, acted on one after another.

        Each click costs a pass of the network over its slice, and another over the two beside it.
        A clicked voxel has its label in the end; of two clicks on one voxel the later one holds.
        Correcting click by click with the earlier ones as `settled` gives the same as all at once.

        Args:
            mask: `(X, Y, Z)` label map with values from `AcdcLabel`, in the file's order of axes.
            clicks: New clicks on it.
            settled: Clicks that led to `mask`: they hold on, and the network sees them.
            one_slice: Change the slices of the clicks only.

        Returns:
            `(X, Y, Z)` uint8, a new array.

        Raises:
            DataError: If the mask is not on the volume's grid or a click lies outside of it.
        """
        if mask.shape != self.shape:
            raise DataError(f"expected a mask on the volume's grid {self.shape}, found {mask.shape}")
        present = self._order.to_stack(mask).astype(np.uint8)
        known = [self._in_stack(click) for click in settled]
        with torch.inference_mode():
            for click in clicks:
                known.append(self._in_stack(click))
                self._act(present, known, one_slice=one_slice)
        return np.ascontiguousarray(self._order.to_file(present))

    def _in_stack(self, click: Click) -> Click:
        """The click with its index in the order of the stack."""
        if any(not 0 <= place < length for place, length in zip(click.index, self.shape, strict=True)):
            raise DataError(
                f"expected a click within {self.shape} voxels, found {click.index}; indices count from 0"
            )
        i, j, k = self._order.index(click.index, self.shape)
        return replace(click, i=i, j=j, k=k)

    def _act(self, present: Mask, clicks: Sequence[Click], *, one_slice: bool) -> None:
        """Give more of the mask, slices last, the label of the newest of the clicks."""
        newest = clicks[-1]
        window = Window.around(
            newest, WINDOW_PX, self._field_affine, self._native_affine, self._image.shape[2:]
        )
        distance_mm = self._distance_mm(newest, present.shape)
        known_mm = distance_mm[present[:, :, newest.k] == newest.label]
        most_mm = REACH_WIDTHS * known_mm.min(initial=np.inf) + REACH_BORDER_MM
        added = added_by_click(present[:, :, newest.k], newest, self._spacing_mm)
        within = (distance_mm <= min(REACH_MM, most_mm)) | (added == CERTAIN)
        mended = self._change(present, clicks, [newest.k], window, added, within, distance_mm == 0)
        beside = [z for z in (newest.k - 1, newest.k + 1) if 0 <= z < present.shape[2]]
        if beside and not one_slice:
            added = np.full_like(added, -NEIGHBOUR_INERTIA)
            within = distance_mm <= min(NEIGHBOUR_REACH_MM, most_mm)
            self._change(present, clicks, beside, window, added, within, mended)
        for click in clicks:
            present[click.index] = click.label

    def _change(
        self,
        present: Mask,
        clicks: Sequence[Click],
        slices: Sequence[int],
        window: Window,
        added: Scores,
        within: Region,
        beginning: Region,
    ) -> Region:
        """Change slices within a region, as far as it is connected with another; where that was."""
        newest = clicks[-1]
        inputs = torch.cat([self._inputs(present, clicks, z, window) for z in slices])
        scores = self._corrector.member.logits(inputs).log_softmax(dim=1).cpu()
        native, box = to_native_box(
            scores, window.affine(self._field_affine), self._native_affine, present.shape
        )
        distance_mm = self._distance_mm(newest, present.shape)
        touched = np.zeros(present.shape[:2], dtype=bool)
        for index, z in enumerate(slices):
            found, old = native[..., index].numpy(), present[:, :, z]
            ahead = found[newest.label] - np.take_along_axis(found, old[box][None], 0)[0] + added[box]
            if z == newest.k:
                impose_click(ahead, distance_mm[box])
            free = within & (old != newest.label)
            for click in clicks[:-1]:  # what an earlier click has settled is kept on its side of the newest
                if click.k == z:
                    free &= (old != click.label) | (distance_mm < self._distance_mm(click, present.shape))
            changed = connected((ahead > 0) & free[box], beginning[box])
            old[box][changed] = newest.label
            touched[box] |= changed
        return touched

    def _inputs(self, present: Mask, clicks: Sequence[Click], z: int, window: Window) -> Tensor:
        """`(1, 21, h, w)` channels of one slice."""
        last = present.shape[2] - 1
        stack = [min(max(z + offset, 0), last) for offset in (-1, 0, 1)]
        masks = window.to_field(present[:, :, stack])
        shape = (window.size, window.size)
        here = torch.zeros(1, len(AcdcLabel), *shape)
        beside = torch.zeros_like(here)
        newest = torch.zeros(1, 1, *shape)
        for click in clicks:
            if abs(click.k - z) <= 1:
                mark = bell(window.position(click), shape)[0]
                maps = here if click.k == z else beside
                maps[0, click.label] = torch.maximum(maps[0, click.label], mark)
                if click is clicks[-1]:
                    newest[0, 0] = mark
        return input_channels(self._image[z : z + 1][:, :, *window.box], masks[None], here, beside, newest)

    def _distance_mm(self, click: Click, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        rows = (np.arange(shape[0]) - click.i)[:, None] * self._spacing_mm[0]
        columns = (np.arange(shape[1]) - click.j)[None, :] * self._spacing_mm[1]
        distance: npt.NDArray[np.float64] = np.hypot(rows, columns)
        return distance
