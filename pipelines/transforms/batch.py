"""Changes to some images of a batch."""

from collections.abc import Callable

from torch import Tensor


def change_some(image: Tensor, chosen: Tensor, change: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """A batch in which some images are changed; for the others nothing is worked out.

    Args:
        image: `(B, ...)`.
        chosen: `(B, 1, ...)` bool, a value for each image.
        change: Gives the new images for the old ones `(N, ...)` and their indices `(N)` in the batch.
    """
    rows = chosen.flatten().nonzero().flatten()
    return image.index_copy(0, rows, change(image[rows], rows)) if len(rows) else image
