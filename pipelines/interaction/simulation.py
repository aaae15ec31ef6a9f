"""Training of the correcting network: masks that fail, and a simulated user who corrects them."""

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import torch
from scipy.ndimage import label
from torch import Tensor, nn
from torch.nn import functional as F

from pipelines.core.errors import DataError
from pipelines.core.files import output_folder, write_json
from pipelines.core.records import FOREGROUND, AcdcLabel
from pipelines.core.volume import read_volume, write_label
from pipelines.datasets.prepare import DATALIST_NAME, fingerprint, load_or_prepare, select
from pipelines.interaction.clicks import Mask, SliceError, largest_slice_error
from pipelines.interaction.corrector import bell, input_channels
from pipelines.models.bundle import ACDC_BUNDLE
from pipelines.models.heart import Predictor
from pipelines.models.weights import LAST_NAME
from pipelines.training.launch import train_network
from pipelines.transforms.augment import IntensityAugmentation, SpatialAugmentation, chosen_share

CORE_PX = 5
"""Width over which a class fades at its border before noise moves it, pixels."""

HEART_PX = 30
"""Width of the surroundings of the heart in which something may appear, pixels."""


@dataclass(frozen=True, slots=True)
class ImperfectMasks:
    """Ranges and shares of what goes wrong.

    Attributes:
        border: Largest standard deviation of the noise that moves borders; 0.5 is the class's own border.
        alike: Share of that noise that neighbouring slices have in common, 0 to 1.
        lost: Share of slices in which part or all of a structure is missing.
        empty: Share of slices without any structure, as beyond base and apex.
        swapped: Share of slices that are drawn as the next one.
        spurious: Share of slices in which a structure appears where it is not.
    """

    border: float = 0.5
    alike: float = 0.8
    lost: float = 0.3
    empty: float = 0.06
    swapped: float = 0.15
    spurious: float = 0.15

    def apply(self, classes: Tensor) -> Tensor:
        """Masks with faults, one-hot, from torch's global generator.

        Args:
            classes: `(B, 3, 4, H, W)` float, share of each class in three neighbouring slices.
        """
        count = len(classes)
        swapped = chosen_share(classes, self.swapped)
        side = torch.where(torch.rand(count, 1, 1, 1, 1, device=classes.device) < 0.5, -1, 1)
        shifted = torch.where(side < 0, classes[:, [0, 0, 1]], classes[:, [1, 2, 2]])
        classes = torch.where(swapped, shifted, classes)
        # In two passes, which a CPU does faster than one over squares.
        faded = _mean(_mean(classes.flatten(0, 1), (CORE_PX, 1)), (1, CORE_PX)).view_as(classes)
        heart = self._surroundings(faded)
        faded = faded + heart * self._border_noise(classes)
        faded = faded - self._lost(classes) + heart * self._spurious(classes)
        empty = chosen_share(classes, self.empty) & self._in_slices(classes)
        background = torch.zeros_like(faded)
        background[:, :, AcdcLabel.BACKGROUND] = 1
        faded = torch.where(empty, background, faded)
        # On a CPU, max finds the class many times faster than argmax.
        index = faded.max(dim=2, keepdim=True).indices
        return torch.zeros_like(faded).scatter_(2, index, 1.0)

    def _in_slices(self, classes: Tensor) -> Tensor:
        """The middle slice always, each neighbour as likely as not."""
        chosen = torch.rand(len(classes), 3, 1, 1, 1, device=classes.device) < 0.5
        chosen[:, 1] = True
        return chosen

    def _surroundings(self, faded: Tensor) -> Tensor:
        heart = 1 - faded[:, :, AcdcLabel.BACKGROUND].amin(dim=1, keepdim=True)
        coarse = F.avg_pool2d(heart, HEART_PX // 3, ceil_mode=True)
        fine = F.interpolate(_mean(coarse, (3, 3)), heart.shape[2:], mode="bilinear", align_corners=False)
        return (4 * fine).clamp(max=1)[:, :, None]

    def _border_noise(self, classes: Tensor) -> Tensor:
        count, slices, kinds, height, width = classes.shape
        device = classes.device
        nodes = int(torch.randint(4, 13, ()))
        common = torch.randn(count, 1, kinds, nodes, nodes, device=device)
        own = torch.randn(count, slices, kinds, nodes, nodes, device=device)
        coarse = self.alike**0.5 * common + (1 - self.alike) ** 0.5 * own
        strength = self.border * torch.rand(count, 1, 1, 1, 1, device=device)
        fine = F.interpolate((strength * coarse).flatten(0, 1), (height, width), mode="bicubic")
        return fine.view(classes.shape)

    def _lost(self, classes: Tensor) -> Tensor:
        """What to take from a structure, on one side of a line through it or everywhere."""
        count, _, kinds, height, width = classes.shape
        device = classes.device
        structure = torch.randint(1, kinds, (count,), device=device)
        structure[torch.rand(count, device=device) < 0.4] = AcdcLabel.RV
        weight = F.one_hot(structure, kinds).float()
        with_wall = torch.rand(count, device=device) < 0.3
        weight[with_wall] = torch.tensor([0.0, 0.0, 1.0, 1.0], device=device)
        side = self._half_plane(classes[:, 1], structure)
        side[torch.rand(count, device=device) < 0.4] = 1.0
        chosen = chosen_share(classes, self.lost) & self._in_slices(classes)
        return 2.0 * chosen * weight[:, None, :, None, None] * side.view(count, 1, 1, height, width)

    def _half_plane(self, classes: Tensor, structure: Tensor) -> Tensor:
        """`(B, H, W)`, 1 on one side of a random line through the structure of each item."""
        count, _, height, width = classes.shape
        device = classes.device
        shape = classes[torch.arange(count, device=device), structure]
        rows = torch.arange(height, device=device).float()[None, :, None]
        columns = torch.arange(width, device=device).float()[None, None, :]
        mass = shape.sum((1, 2)).clamp_min(1e-3)
        row, column = (shape * rows).sum((1, 2)) / mass, (shape * columns).sum((1, 2)) / mass
        angle = 2 * torch.pi * torch.rand(count, 1, 1, device=device)
        extent = (mass / torch.pi).sqrt()[:, None, None]
        offset = extent * (torch.rand(count, 1, 1, device=device) - 0.5)
        distance = (rows - row[:, None, None]) * angle.sin() + (columns - column[:, None, None]) * angle.cos()
        return (distance > offset).float()

    def _spurious(self, classes: Tensor) -> Tensor:
        """What to add to a structure, in an ellipse somewhere."""
        count, _, kinds, height, width = classes.shape
        device = classes.device
        rows = torch.arange(height, device=device).float()[None, :, None] / height
        columns = torch.arange(width, device=device).float()[None, None, :] / width
        center = 0.2 + 0.6 * torch.rand(2, count, 1, 1, device=device)
        radius = 0.03 + 0.12 * torch.rand(2, count, 1, 1, device=device)
        inside = ((rows - center[0]) / radius[0]) ** 2 + ((columns - center[1]) / radius[1]) ** 2 < 1
        structure = torch.randint(0, len(FOREGROUND) + 1, (count,), device=device)
        weight = F.one_hot(structure, kinds).float()[:, None, :, None, None]
        chosen = chosen_share(classes, self.spurious) & self._in_slices(classes)
        return 2.0 * chosen * weight * inside.view(count, 1, 1, height, width)


def _mean(images: Tensor, size: tuple[int, int]) -> Tensor:
    """Mean of odd surroundings of each pixel, at the border over those that are there."""
    padding = (size[0] // 2, size[1] // 2)
    return F.avg_pool2d(images, size, stride=1, padding=padding, count_include_pad=False)


SLICES: Final = 3
"""The slice that is corrected and its two neighbours."""

MIDDLE: Final = 1
"""Index of the slice that is corrected among its neighbours."""

REACH_PX: Final = 8
"""Distance from a click within which a fault is meant by it, pixels."""

MENDED: Final = 0.7
"""Share of clicks in a neighbouring slice that have mended the fault there."""


@dataclass(eq=False)
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

    network: nn.Module
    spatial_size: Sequence[int]
    _: KW_ONLY
    spatial: SpatialAugmentation
    intensity: IntensityAugmentation
    faults: ImperfectMasks
    variations: ImperfectMasks
    varied: float = 0.5
    unseen: float = 0.6
    exchanged: float = 0.25
    earlier_clicks: int = 2
    elsewhere: float = 0.3
    misplaced: float = 0.4
    misplacement_px: float = 1.5
    dtype: torch.dtype | None = None

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
        truth = torch.where(chosen_share(classes, self.varied), self.variations.apply(label), label)
        present = self.faults.apply(truth)
        if classes.shape[1] > SLICES:
            mask = classes[:, SLICES:]
            unseen = chosen_share(classes, self.unseen)
            exchanged = chosen_share(classes, self.exchanged)
            truth = torch.where(unseen, torch.where(exchanged, mask, label), truth)
            present = torch.where(unseen, torch.where(exchanged, label, mask), present)
        return present, truth

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

    def _spot(self, found: SliceError | None, shape: Sequence[int]) -> tuple[int, int]:
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


HALVES: Final = 2
"""Parts of the training patients: each is segmented by the network that is trained on the rest."""

MASK_KEY: Final = "mask"


def write_unseen_masks(
    network: str,
    dataset_dir: Path,
    output: Path,
    *,
    fold: int = 0,
    resume: bool = False,
    overlays: Sequence[str] = (),
    bundle: Path = ACDC_BUNDLE,
    **settings: Any,
) -> list[Path]:
    """Train a network on either half of the training patients and segment the other half with it.

    That half also validates. To choose no weights by it, validate once, at the end: `val_interval` as
    large as `max_epochs`.

    Args:
        network: Network of the ACDC bundle.
        dataset_dir: Existing folder: a prepared one, or one with the raw data.
        output: Folder for the masks, with the two runs in `run_0` and `run_1`; made if it does not exist.
        fold: Fold that validates later and the test set are left out: 0 to 4.
        resume: Go on where a run in `output` ended.
        overlays: Further configuration files of the training, without `.yaml`.
        bundle: Root folder of the bundle.
        **settings: Values that replace those of the training's configuration.

    Returns:
        The masks, `(X, Y, Z)` uint8 on their images' grids, named as `mask_path` says.

    Raises:
        ConfigError: As for `train_network`.
        DataError: If the data cannot be used, or there are no two patients to train on.
        OutputError: If `output` cannot be written.
    """
    output_folder(output)
    datalist = load_or_prepare(dataset_dir, output)
    items = select(datalist, "training", fold)
    written = []
    for number, half in enumerate(_halves(items)):
        run = output / f"run_{number}"
        # The half that is segmented is the fold that validates.
        volumes = [item | {"part": int(item["patient"] not in half)} for item in items]
        write_json(output_folder(run) / DATALIST_NAME, datalist | {"volumes": volumes})
        best = train_network(
            network,
            run,
            run,
            resume=resume and (run / LAST_NAME).is_file(),
            overlays=overlays,
            bundle=bundle,
            **settings,
        )
        predictor = Predictor.load(network, bundle=bundle, weights=best)
        for item in volumes:
            if item["part"] == 0:
                volume = read_volume(Path(item["image"]))
                written.append(mask_path(output, item["image"]))
                write_label(written[-1], predictor.predict(volume).mask, volume.affine)
    return written


def mask_path(folder: Path, image: str | Path) -> Path:
    """Where the mask of an image is: the image's own name, in `folder`."""
    return folder / Path(image).name


def with_unseen_masks(items: Sequence[Mapping[str, Any]], folder: str | Path | None) -> list[dict[str, Any]]:
    """Items of a datalist with the path of their mask as `mask`; as they are if `folder` is None.

    The mask counts in the fingerprint, so that a cache notices when it changes.

    Args:
        items: With `image` and `fingerprint`.
        folder: Folder of `write_unseen_masks`.

    Raises:
        DataError: If the mask of an image is missing.
    """
    if folder is None:
        return [dict(item) for item in items]
    found = []
    for item in items:
        path = mask_path(Path(folder), item["image"])
        if not path.is_file():
            raise DataError(
                f"expected a mask of {item['image']} at {path}, found none; make those of the same fold "
                "with 'thorax cross-validate --unseen-masks'"
            )
        own = {MASK_KEY: str(path), "fingerprint": item["fingerprint"] + fingerprint(path)}
        found.append({**item, **own})
    return found


def _halves(items: Sequence[Mapping[str, Any]]) -> list[set[str]]:
    """Patients dealt in turn, by fold and group, so that both halves have all groups."""
    patients = {item["patient"]: (item["group"], item["part"], item["patient"]) for item in items}
    order = sorted(patients, key=lambda name: patients[name])
    if len(order) < HALVES:
        raise DataError(f"expected at least {HALVES} patients to train on, found {len(order)}; give more")
    return [set(order[number::HALVES]) for number in range(HALVES)]
