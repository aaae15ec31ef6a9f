"""The grid lies around the best rate."""

from pipelines.training.checks.grid import grid_points


def test_the_whole_grid_has_each_combination_once_and_begins_in_the_middle() -> None:
    points = grid_points(0.01, 12, 1000)
    assert len(points) == 3 * 3 * 3 * 2
    assert len({tuple(point.values()) for point in points}) == 54
    assert points[0] == {"learning_rate": 0.01, "weight_decay": 1e-4, "momentum": 0.9, "batch_size": 12}
    assert {point["learning_rate"] for point in points} == {0.01, 0.00333, 0.03}
    assert {point["batch_size"] for point in points} == {12, 6}


def test_fewer_points_are_drawn_without_repetition_and_alike_each_time() -> None:
    points = grid_points(0.01, 12, 5)
    assert points == grid_points(0.01, 12, 5)
    assert len({tuple(point.values()) for point in points}) == 5
    assert points[0] == grid_points(0.01, 12, 1)[0]
