"""The contours that callers are working on, between one click and the next."""

import threading
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from pipelines.interaction.clicks import Mask
from pipelines.server.predictors import OpenVolume
from pipelines.server.sent_interaction import Interaction, SentClick

MAX_DRAFTS: Final = 16
"""Drafts that are kept, the latest ones; about 10 MB each, most of it the prepared volume."""


@dataclass(frozen=True, slots=True)
class Act:
    """What a click did, so that it can be taken back.

    Attributes:
        click: The click.
        places: `(n,)` flat indices of the voxels that it changed; none if a person drew since.
        before: `(n,)` uint8, the labels that they had.
    """

    click: SentClick
    places: npt.NDArray[np.intp]
    before: Mask

    @classmethod
    def settled(cls, click: SentClick) -> "Act":
        """A click whose effect stays."""
        return cls(click, np.empty(0, dtype=np.intp), np.empty(0, dtype=np.uint8))


@dataclass(frozen=True, slots=True)
class Draft:
    """A contour that a caller was given and corrects.

    Attributes:
        mask: `(X, Y, Z)` uint8 label map, as the caller last got it.
        acts: Clicks that led to it, the oldest first.
        correction: The volume as it was prepared for clicks, or None before the first.
        base: Number of the newest version of the label when the contour began, 0 for none.
    """

    mask: Mask
    acts: tuple[Act, ...] = ()
    correction: OpenVolume | None = None
    base: int = 0

    @property
    def clicks(self) -> list[SentClick]:
        """Clicks that led to the mask, the oldest first."""
        return [act.click for act in self.acts]

    def drawn(self, mask: Mask) -> "Draft":
        """With another contour by a person, who has seen what the clicks did."""
        return replace(self, mask=mask, acts=tuple(Act.settled(click) for click in self.clicks))

    def after(self, click: SentClick, mask: Mask) -> "Draft":
        """With one more click and the contour to which it led."""
        places = np.flatnonzero(mask != self.mask)
        return replace(self, mask=mask, acts=(*self.acts, Act(click, places, self.mask.ravel()[places])))

    def asked(self, interaction: Interaction, mask: Mask | None = None) -> tuple["Draft", list[SentClick]]:
        """The draft to go on from, and the clicks to act on.

        Without a mask that a client sent, a click that is gone takes its effect with it: the contour is
        again what it was before it, and later clicks are acted on anew. With one, the client has seen to
        that, and only clicks are acted on that are new and whose effect is not in the mask.

        Args:
            interaction: All clicks of the client.
            mask: `(X, Y, Z)` label map that it has now, if it sent one.
        """
        known = self.clicks
        kept = [not interaction.speaks_of(click) or click in interaction.clicks for click in known]
        if mask is not None and (interaction.settled or not all(kept) or (mask != self.mask).any()):
            held = [click for click, is_kept in zip(known, kept, strict=True) if is_kept]
            held += [click for click in interaction.settled if click not in held]
            new = [click for click in interaction.clicks if click not in held]
            return replace(self, mask=mask, acts=tuple(Act.settled(click) for click in held)), new
        new = [click for click in interaction.clicks if click not in known]
        if all(kept):
            return self, new
        first = kept.index(False)
        before = self.mask.copy()
        for act in reversed(self.acts[first:]):
            before.flat[act.places] = act.before
        again = [click for click, is_kept in zip(known[first:], kept[first:], strict=True) if is_kept]
        return replace(self, mask=before, acts=self.acts[:first]), again + new


class Drafts:
    """Drafts by file and caller."""

    def __init__(self) -> None:
        self._drafts: OrderedDict[tuple[Path, int, str], Draft] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, image: Path, caller: str) -> Draft | None:
        """The draft of a caller on an existing image file as it is now, or None."""
        return self._drafts.get(_key(image, caller))

    def put(self, image: Path, caller: str, draft: Draft) -> None:
        """Keep a draft; the one that was not touched for longest makes room."""
        key = _key(image, caller)
        with self._lock:
            self._drafts[key] = draft
            self._drafts.move_to_end(key)
            while len(self._drafts) > MAX_DRAFTS:
                self._drafts.popitem(last=False)

    def begin(self, image: Path, caller: str, mask: Mask, *, base: int = 0) -> None:
        """Put a new contour of a network in the place of what the caller had."""
        known = self.get(image, caller)
        self.put(image, caller, Draft(mask, correction=known.correction if known else None, base=base))

    def accept(self, image: Path, caller: str, mask: Mask, *, base: int = 0) -> None:
        """Go on from the contour that a caller saved as the version `base`, if there is a draft."""
        known = self.get(image, caller)
        if known is not None:
            self.put(image, caller, replace(known.drawn(mask), base=base))


def _key(image: Path, caller: str) -> tuple[Path, int, str]:
    return image, image.stat().st_mtime_ns, caller
