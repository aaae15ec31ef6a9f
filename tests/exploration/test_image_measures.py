import numpy as np
import pytest

from pipelines.core.volume import Volume
from pipelines.exploration.image_measures import file_orientation, measure_image, noise_sd, tissue_mask


def volume(array: np.ndarray, affine: np.ndarray | None = None) -> Volume:
    affine = np.diag([2.0, 1.0, 10.0, 1.0]) if affine is None else affine
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    return Volume(array.astype(np.float32), affine, (float(spacing[0]), float(spacing[1]), float(spacing[2])))


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """A bright half of mean 400 and a dark one of mean 20, with white noise of SD 5."""
    array = np.full((80, 60, 5), 20.0)
    array[40:] = 400.0
    return array + np.random.default_rng(0).normal(0, 5, array.shape)


def test_noise_and_snr_are_those_that_were_put_in(noisy: np.ndarray) -> None:
    measures = measure_image(volume(noisy), "RAS")
    assert measures.noise_sd == pytest.approx(5.0, rel=0.05)
    assert measures.snr_image == pytest.approx(80.0, rel=0.05)


def test_noise_does_not_see_edges_between_tissues(noisy: np.ndarray) -> None:
    stripes = noisy.copy()
    stripes[40:, ::16] += 300.0
    assert noise_sd(stripes, np.ones(stripes.shape, bool)) == pytest.approx(5.0, rel=0.15)


def test_noise_of_a_flat_or_tiny_image_cannot_be_told() -> None:
    assert noise_sd(np.ones((40, 40, 2)), np.ones((40, 40, 2), bool)) is None
    assert noise_sd(np.random.default_rng(0).random((4, 4, 1)), np.ones((4, 4, 1), bool)) is None


def test_tissue_is_the_bright_part_and_muscle_belongs_to_it(noisy: np.ndarray) -> None:
    muscle = noisy.copy()
    muscle[50:60] = 150.0
    assert tissue_mask(muscle)[40:].mean() > 0.99
    assert tissue_mask(muscle)[:40].mean() < 0.01


def test_grid_and_field_of_view_follow_from_shape_and_spacing(noisy: np.ndarray) -> None:
    measures = measure_image(volume(noisy), "RAS")
    assert (measures.columns_px, measures.rows_px, measures.slices) == (80, 60, 5)
    assert (measures.field_x_mm, measures.field_y_mm, measures.coverage_mm) == (160.0, 60.0, 50.0)


def test_clipped_voxels_are_counted() -> None:
    array = np.arange(1000.0).reshape(10, 10, 10)
    assert measure_image(volume(array), "RAS").clipped_share == pytest.approx(0.001)
    assert measure_image(volume(np.minimum(array, 899)), "RAS").clipped_share == pytest.approx(0.101)


def test_a_header_with_the_spacing_alone_has_no_position(noisy: np.ndarray) -> None:
    assert not measure_image(volume(noisy), "RAS").has_position
    placed = np.diag([2.0, 1.0, 10.0, 1.0])
    placed[0, 3] = -90.0
    assert measure_image(volume(noisy, placed), "RAS").has_position
    turn = np.deg2rad(30)
    turned = np.diag([2.0, 1.0, 10.0, 1.0])
    turned[:2, :2] = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]) @ turned[:2, :2]
    measures = measure_image(volume(noisy, turned), "RAS")
    assert measures.is_oblique
    assert measures.has_position


def test_orientation_is_where_the_axes_of_the_file_point() -> None:
    assert file_orientation(volume(np.zeros((2, 2, 2)), np.diag([-1.0, -1.0, 8.0, 1.0]))) == "LPS"
