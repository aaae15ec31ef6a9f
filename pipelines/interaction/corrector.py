"""Correct a label map by clicks: the region around a click changes as the image and the click say."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from pipelines.core.errors import DataError
from pipelines.core.labels import AcdcLabel
from pipelines.core.stack_order import stack_order
from pipelines.core.volume import Volume, slices_last
from pipelines.interaction.channels import bell, input_channels
from pipelines.interaction.clicks import Click, Mask
from pipelines.interaction.field import Window
from pipelines.interaction.pull import KEEP, KEEP_BESIDE, TOUCH_MM, connected, fulfil, keep, pull
from pipelines.models.bundle import ACDC_BUNDLE, CORRECTOR, device_settings
from pipelines.models.member import Member, field_affine
from pipelines.models.native_grid import to_native_box

Region = npt.NDArray[np.bool_]
"""`(X, Y)` of a slice."""

WINDOW_PX: Final = 64
"""Side of the square around a click that the network sees, pixels of its grid."""


@dataclass(frozen=True, slots=True)
class Reach:
    """How far from a click a mask may change; what lies beyond stays as it is.

    Attributes:
        slice_mm: Farthest pixel of the slice of the click that may change, mm in plane.
        neighbour_mm: The same in the slices before and after it; 0 leaves them alone.
        widths: Nor may a pixel change that is farther than so many times the distance from the click to
            where the mask has its label already, since a small fault is mended nearby,
        border_mm: plus this.
    """

    slice_mm: float = 60.0
    neighbour_mm: float = 30.0
    widths: float = 5.0
    border_mm: float = 6.0


class Corrector:
    """The correcting network with its weights, ready to correct volumes one after the other.

    Args:
        member: Network, transforms and device.
        reach: How far from a click a mask may change.
    """

    def __init__(self, member: Member, *, reach: Reach | None = None) -> None:
        self.member = member
        self.reach = reach or Reach()

    @classmethod
    def load(
        cls,
        *,
        bundle: Path = ACDC_BUNDLE,
        weights: Path | None = None,
        reach: Reach | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> "Corrector":
        """The corrector of a bundle, as its configuration describes it.

        Args:
            bundle: Root folder of the bundle.
            weights: File to use instead of the bundle's own.
            reach: How far from a click a mask may change.
            device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.
            precision: `"auto"`, `"bf16"` or `"fp32"`.

        Raises:
            ConfigError: If weights are missing or do not fit.
        """
        settings = device_settings(device, precision)
        return cls(Member.load(CORRECTOR, bundle=bundle, weights=weights, **settings), reach=reach)

    def open(self, volume: Volume) -> "Correction":
        """Prepare a volume, so that each click on it takes a fraction of a second.

        Args:
            volume: `(X, Y, Z)` image; the slice axis may be any.

        Raises:
            DataError: If the volume is not 3-D.
        """
        return Correction(self, volume)

    def correct(
        self,
        volume: Volume,
        mask: Mask,
        clicks: Sequence[Click],
        *,
        settled: Sequence[Click] = (),
        one_slice: bool = False,
    ) -> Mask:
        """Corrected label map; see `Correction.correct`, which is faster for more than one call."""
        return self.open(volume).correct(mask, clicks, settled=settled, one_slice=one_slice)


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
        """Change the mask, slices last, by the newest of the clicks."""
        newest, reach = clicks[-1], self._corrector.reach
        window = Window.around(
            newest, WINDOW_PX, self._field_affine, self._native_affine, self._image.shape[2:]
        )
        distance_mm = self._distance_mm(newest, present.shape)
        known_mm = distance_mm[present[:, :, newest.k] == newest.label]
        most_mm = reach.widths * known_mm.min(initial=np.inf) + reach.border_mm
        within = distance_mm <= min(reach.slice_mm, most_mm)
        mended = self._change(present, clicks, [newest.k], window, within, distance_mm <= TOUCH_MM)
        beside = [z for z in (newest.k - 1, newest.k + 1) if 0 <= z < present.shape[2]]
        if beside and reach.neighbour_mm > 0 and not one_slice:
            within = distance_mm <= min(reach.neighbour_mm, most_mm)
            self._change(present, clicks, beside, window, within, mended)
        for click in clicks:
            present[click.index] = click.label

    def _change(
        self,
        present: Mask,
        clicks: Sequence[Click],
        slices: Sequence[int],
        window: Window,
        within: Region,
        beginning: Region,
    ) -> Region:
        """Change slices within a region, as far as it is connected with another; where that was."""
        inputs = torch.cat([self._inputs(present, clicks, z, window) for z in slices])
        scores = self._corrector.member.logits(inputs).log_softmax(dim=1).cpu()
        native, box = to_native_box(
            scores, window.affine(self._field_affine), self._native_affine, present.shape
        )
        touched = np.zeros(present.shape[:2], dtype=bool)
        for index, z in enumerate(slices):
            old = present[:, :, z][box]
            ahead = KEEP if z == clicks[-1].k else KEEP_BESIDE
            new = self._labels(native[..., index].numpy(), old, box, [c for c in clicks if c.k == z], ahead)
            changed = connected((new != old) & within[box], beginning[box])
            present[:, :, z][box] = np.where(changed, new, old)
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

    def _labels(
        self,
        scores: npt.NDArray[np.float32],
        present: Mask,
        box: tuple[slice, slice],
        clicks: Sequence[Click],
        ahead: float,
    ) -> Mask:
        """`(x, y)` labels of log-probabilities `(4, x, y)`, in which every click of the slice has its way."""
        shape = (box[0].stop, box[1].stop)
        scores = scores.copy()
        keep(scores, present, ahead)
        inside = [
            (click.label, self._distance_mm(click, shape)[box].astype(np.float32))
            for click in clicks
            if _is_in(click, box)
        ]
        for kind, distance_mm in inside:
            pull(scores, present, kind, distance_mm)
        for kind, distance_mm in inside:
            fulfil(scores, kind, distance_mm)
        labels: Mask = scores.argmax(axis=0).astype(np.uint8)
        return labels

    def _distance_mm(self, click: Click, shape: tuple[int, ...]) -> npt.NDArray[np.float64]:
        rows = (np.arange(shape[0]) - click.i)[:, None] * self._spacing_mm[0]
        columns = (np.arange(shape[1]) - click.j)[None, :] * self._spacing_mm[1]
        distance: npt.NDArray[np.float64] = np.hypot(rows, columns)
        return distance


def _is_in(click: Click, box: tuple[slice, slice]) -> bool:
    return box[0].start <= click.i < box[0].stop and box[1].start <= click.j < box[1].stop
