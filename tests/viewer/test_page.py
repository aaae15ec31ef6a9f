"""What of the page needs no browser: its pure functions by Node's own runner, and its colours."""

import itertools
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

NODE = shutil.which("node")
STYLE = Path(__file__).parents[2] / "apps" / "viewer" / "style.css"

SEEN = {
    "all cones": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""What linear sRGB looks like: Machado et al., IEEE TVCG 15(6), 2009, doi:10.1109/TVCG.2009.113."""

TOLD_APART = 25
"""Distance in CIELAB from which two thin lines are told apart; 2.3 is the least that is seen side by side."""


def lab(colour: str, seen: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """CIELAB, D65, of a `#rrggbb` colour as it is seen."""
    srgb = np.array([int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(np.array(seen) @ linear, 0, 1) / (0.9505, 1, 1.089)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.fixture(autouse=True)
def nothing_went_wrong() -> None:
    """Nothing here opens the page."""


@pytest.mark.parametrize("kind", SEEN)
def test_the_colours_of_the_structures_are_distinguished(kind: str) -> None:
    text = STYLE.read_text(encoding="utf-8")
    colours = [re.search(rf"--{name}: (#[0-9a-f]{{6}});", text) for name in ("rv", "myo", "lv")]
    for one, other in itertools.combinations(colours, 2):
        assert one is not None
        assert other is not None
        distance = np.linalg.norm(lab(one[1], SEEN[kind]) - lab(other[1], SEEN[kind]))
        assert distance > TOLD_APART


def test_without_npm_the_check_of_the_types_is_left_out_and_says_so(tmp_path: Path) -> None:
    make = shutil.which("make")
    assert make is not None
    command = [make, "--no-print-directory", "-C", str(STYLE.parents[2]), "page-types"]
    run = subprocess.run(command, capture_output=True, text=True, env={"PATH": str(tmp_path)})
    assert (run.returncode, run.stdout) == (
        0,
        "no npm, or no packages of it, on this machine: the types of the page were not checked\n",
    )


@pytest.mark.skipif(NODE is None, reason="no Node.js on this machine: apt-get install nodejs")
def test_slices_lines_and_drawing_by_hand_do_what_they_should() -> None:
    assert NODE is not None
    tests = sorted(str(path) for path in Path(__file__).parent.glob("*.test.js"))
    run = subprocess.run([NODE, "--test", *tests], capture_output=True, text=True, encoding="utf-8")
    assert run.returncode == 0, run.stdout
