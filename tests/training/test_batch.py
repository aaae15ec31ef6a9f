import torch

from pipelines.training.batch import PrepareTrainingBatch
from pipelines.transforms.augment import RandAugmentBatch, RandAugmentBatchd


def test_a_batch_is_augmented_and_laid_out_channels_last() -> None:
    prepare = PrepareTrainingBatch(RandAugmentBatchd(RandAugmentBatch((16, 20))))
    batch = {
        "image": torch.rand(2, 3, 24, 24).half(),
        "label": torch.zeros(2, 1, 24, 24, dtype=torch.uint8),
        "center": torch.zeros(2, 2),
        "patient": ["a", "b"],
    }
    image, label = prepare(batch, torch.device("cpu"), non_blocking=True)
    assert (image.shape, image.dtype) == ((2, 3, 16, 20), torch.float32)
    assert (label.shape, label.dtype) == ((2, 1, 16, 20), torch.int64)
    assert image.is_contiguous(memory_format=torch.channels_last)


def test_the_batch_moves_before_it_is_augmented() -> None:
    seen: list[str] = []

    class Augment(RandAugmentBatchd):
        def __call__(self, batch):  # type: ignore[no-untyped-def]
            seen.extend(value.device.type for value in batch.values())
            return {"image": torch.zeros(1, 1, 2, 2), "label": torch.zeros(1, 1, 2, 2)}

    prepare = PrepareTrainingBatch(Augment(RandAugmentBatch((2, 2))))
    prepare({"image": torch.zeros(1), "label": torch.zeros(1)}, torch.device("meta"))
    assert seen == ["meta", "meta"]
