import numpy as np
import pytest

from pipelines.core.records import AcdcLabel
from pipelines.disease.measure import slice_thickness_mm, wall_features


def ring(inner_mm: float, outer_mm: float, spacing_mm: float, side: int = 120) -> np.ndarray:
    """One slice with a cavity of a radius in a wall up to another."""
    x, y = np.ogrid[:side, :side]
    radius = np.hypot(x - (side - 1) / 2, y - (side - 1) / 2) * spacing_mm
    label = np.zeros((side, side), np.uint8)
    label[radius < outer_mm] = AcdcLabel.MYO
    label[radius < inner_mm] = AcdcLabel.LV
    return label


def walls(label: np.ndarray, spacing_mm: tuple[float, float]) -> np.ndarray:
    return slice_thickness_mm(label == AcdcLabel.MYO, label == AcdcLabel.LV, spacing_mm)


def test_a_square_wall_of_three_pixels_is_three_pixels_thick() -> None:
    label = np.zeros((20, 20), np.uint8)
    label[4:16, 4:16] = AcdcLabel.MYO
    label[7:13, 7:13] = AcdcLabel.LV
    np.testing.assert_allclose(walls(label, (1.0, 1.0)), 3.0)
    np.testing.assert_allclose(walls(label, (1.5, 1.5)), 4.5)


def test_pixels_of_two_sizes_are_measured_in_mm() -> None:
    label = np.zeros((30, 30), np.uint8)
    label[5:25, 5:25] = AcdcLabel.MYO
    label[8:22, 11:19] = AcdcLabel.LV  # walls of 3 pixels of 2 mm and of 6 pixels of 1 mm
    np.testing.assert_allclose(walls(label, (2.0, 1.0)), 6.0)


@pytest.mark.parametrize("thickness_mm", [6.0, 10.0, 14.0])
def test_an_annulus_is_as_thick_as_it_was_drawn(thickness_mm: float) -> None:
    found = walls(ring(20, 20 + thickness_mm, 0.8), (0.8, 0.8))
    assert found.mean() == pytest.approx(thickness_mm, abs=0.8)
    assert found.std() < 0.5


def test_a_wall_at_the_edge_of_the_image_ends_there() -> None:
    label = np.zeros((10, 12), np.uint8)
    label[0:10, 0:12] = AcdcLabel.MYO
    label[3:7, 3:9] = AcdcLabel.LV
    np.testing.assert_allclose(walls(label, (1.0, 1.0)), 3.0)


def test_open_rings_and_slices_without_cavity_are_not_measured() -> None:
    label = ring(20, 28, 1.0)
    label[:, :55][label[:, :55] == AcdcLabel.MYO] = AcdcLabel.BACKGROUND
    assert walls(label, (1.0, 1.0)).size == 0
    assert walls(np.full((5, 5), AcdcLabel.MYO), (1.0, 1.0)).size == 0


def test_a_stack_tells_mean_and_spread_of_its_slices() -> None:
    stack = np.zeros((40, 40, 3), np.uint8)
    for z, wall in enumerate((3, 5)):
        stack[15 - wall : 25 + wall, 15 - wall : 25 + wall, z] = AcdcLabel.MYO
        stack[15:25, 15:25, z] = AcdcLabel.LV
    found = wall_features(stack, (1.0, 1.0, 10.0))
    assert found == pytest.approx(
        {"wall_max": 5, "wall_mean": 4, "wall_std_slices": 1, "wall_mean_std": 0, "wall_std_std": 0}
    )


def test_a_stack_without_a_closed_ring_has_no_wall() -> None:
    assert set(wall_features(np.zeros((9, 9, 3), np.uint8), (1.0, 1.0, 8.0)).values()) == {0.0}
