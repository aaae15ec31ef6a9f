import numpy as np
from scipy import ndimage

from pipelines.datasets.duplicates import joined, near_duplicates, pixel_hash, thumbnail


def picture(seed: int, shape: tuple[int, int] = (120, 100)) -> np.ndarray:
    noise = np.random.default_rng(seed).random(shape)
    smooth = ndimage.gaussian_filter(noise, 8)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def test_the_same_image_resized_brightened_and_noisy_is_a_near_duplicate() -> None:
    original = picture(0)
    larger = ndimage.zoom(original, 2, order=1).astype(np.float32)
    brighter = (0.7 * original + 0.2).astype(np.float32)
    noisy = original + 0.02 * np.random.default_rng(5).standard_normal(original.shape).astype(np.float32)
    stack = [thumbnail(image) for image in (picture(1), original, larger, brighter, noisy, picture(2))]
    assert near_duplicates(stack) == [(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]


def test_many_images_are_compared_across_blocks() -> None:
    stack = [thumbnail(picture(seed, (40, 40))) for seed in range(1100)]
    stack.append(stack[3])
    assert near_duplicates(stack, least=0.9999) == [(3, 1100)]


def test_constant_images_are_nobody_s_duplicates() -> None:
    flat = thumbnail(np.full((40, 40), 0.5, np.float32))
    assert near_duplicates([flat, flat]) == []


def test_hashes_tell_pixels_and_shapes_apart() -> None:
    image = picture(0)
    changed = image.copy()
    changed[0, 0] += 0.01
    hashes = {pixel_hash(image), pixel_hash(image.copy()), pixel_hash(changed), pixel_hash(image.T)}
    assert len(hashes) == 3


def test_patients_are_joined_through_others() -> None:
    names = ["d", "b", "c", "a", "b"]
    assert joined(names, [(0, 4), (2, 0)]) == {"d": "b", "b": "b", "c": "b", "a": "a"}
