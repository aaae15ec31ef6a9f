from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from skimage.io import imread

from pipelines.core.errors import OutputError
from pipelines.core.records import FOREGROUND, LABEL_COLORS, AcdcLabel
from pipelines.figures import overlay
from pipelines.figures.overlay import curve_figure, overlay_figure, panels, save_png, texts_by


def heart(slices: int = 3) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((64, 48, slices), np.uint8)
    mask[12:24, 16:32], mask[24:44, 14:34], mask[29:39, 19:29] = 1, 2, 3
    image = np.random.default_rng(0).normal(100, 10, mask.shape).astype(np.float32)
    return image, mask


def count_pixels(path: Path, label: AcdcLabel) -> int:
    picture = imread(path)[..., :3].astype(float) / 255
    return int((np.abs(picture - to_rgb(LABEL_COLORS[label])).max(axis=-1) < 0.1).sum())


def test_every_structure_is_drawn_in_its_color(tmp_path: Path) -> None:
    image, mask = heart()
    drawn, plain = tmp_path / "a.png", tmp_path / "b.png"
    overlay_figure(image, mask, drawn, title="patient001 ED", spacing_mm=(1.5, 1.5, 10.0))
    overlay_figure(image, np.zeros_like(mask), plain)
    for label in FOREGROUND:
        assert count_pixels(drawn, label) > count_pixels(plain, label) + 100


def test_truth_is_drawn_where_the_prediction_is_empty(tmp_path: Path) -> None:
    image, mask = heart()
    path = tmp_path / "a.png"
    overlay_figure(image, np.zeros_like(mask), path, truth=mask)
    assert count_pixels(path, AcdcLabel.LV) > 100


@pytest.mark.parametrize("slices", [1, 3, 40])
def test_any_number_of_slices_makes_a_picture(tmp_path: Path, slices: int) -> None:
    image, mask = heart(slices)
    path = tmp_path / "new" / "a.png"
    overlay_figure(image, mask, path)
    assert min(imread(path).shape[:2]) > 100


def test_the_view_is_cropped_to_the_heart_with_a_margin_in_mm(tmp_path: Path) -> None:
    _, mask = heart()
    # heart in columns 12 to 43 of 64 and rows 14 to 33 of 48; 15 mm are 5 voxels of 3 mm and 3 of 5 mm
    crop = overlay.crop_around_heart(mask, (3.0, 5.0, 10.0))
    assert [range(64)[crop[0]], range(48)[crop[1]]] == [range(7, 49), range(11, 37)]


def test_an_empty_mask_shows_the_whole_field() -> None:
    _, mask = heart()
    assert overlay.crop_around_heart(mask * 0, (1.0, 1.0, 8.0)) == (slice(None),) * 3


def test_a_mask_of_another_shape_is_refused(tmp_path: Path) -> None:
    image, mask = heart()
    with pytest.raises(ValueError, match="one shape"):
        overlay_figure(image, mask[:, :, :2], tmp_path / "a.png")


def test_a_failed_write_leaves_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(overlay.Figure, "savefig", full_disk)
    image, mask = heart()
    with pytest.raises(OutputError, match="No space left"):
        overlay_figure(image, mask, tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []


def test_a_curve_shows_both_ventricles(tmp_path: Path) -> None:
    lv_ml = 100 - 50 * np.sin(np.linspace(0, np.pi, 12))
    path = tmp_path / "curve.png"
    curve_figure(range(1, 13), lv_ml, lv_ml * 1.2, 0, 6, path)
    assert count_pixels(path, AcdcLabel.LV) > 100
    assert count_pixels(path, AcdcLabel.RV) > 100


def test_every_text_of_a_figure_is_translated_and_numbers_stay(tmp_path: Path) -> None:
    figure, (axes,) = panels()
    axes.plot([0, 1], [0, 1], label="loss")
    axes.set_xticks([0, 1], ["base", "apex"])
    axes.set_title("curve")
    axes.legend()
    with texts_by(str.upper):
        save_png(figure, tmp_path / "curve.png")
    assert [one.get_text() for one in axes.get_xticklabels()] == ["BASE", "APEX"]
    assert (axes.get_title(), axes.get_legend().texts[0].get_text()) == ("CURVE", "LOSS")
    assert axes.get_yticklabels()[0].get_text().strip("−0.123456789") == ""


def test_a_text_that_runs_from_right_to_left_does_so_after_a_latin_word(tmp_path: Path) -> None:
    figure, (axes,) = panels()
    axes.set(title="LV EF, %", xlabel="ED")
    with texts_by(lambda text: text.replace("%", "درصد")):
        save_png(figure, tmp_path / "curve.png")
    assert (axes.get_title(), axes.get_xlabel()) == ("\u200fLV EF, درصد", "ED")
