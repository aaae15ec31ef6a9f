"""The wheel works without the repository: it holds bundles, app and viewer, and finds them."""

import csv
import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from pipelines.core.install import DISTRIBUTION, install_line, shipped
from pipelines.datasets.phantom.cohort import write_phantom_cohort
from pipelines.datasets.phantom.xray import write_phantom_xrays

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_the_build_names_every_package() -> None:
    packages = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "pipelines").rglob("*.py")}
    assert {*PROJECT["tool"]["setuptools"]["packages"]} == packages | {"pipelines.shipped"}


def test_a_checkout_has_what_ships_at_its_top_level_and_installs_by_its_constraints() -> None:
    assert shipped("bundles") == ROOT / "bundles"
    assert install_line("int8", "onnx") == "pip install -c constraints.txt -e '.[int8,onnx]'"
    assert PROJECT["project"]["name"] == DISTRIBUTION


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An otherwise empty folder that the wheel is installed to."""
    source, wheels, target = (tmp_path_factory.mktemp(name) for name in ("source", "wheels", "target"))
    for name in ("pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"):
        shutil.copy(ROOT / name, source)
    for name in ("pipelines", "bundles", "apps"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__", "runs"))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet"]
    offline = ["--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "wheel", *offline, "--wheel-dir", wheels, source], check=True)
    shutil.rmtree(source)
    (wheel,) = wheels.glob("*.whl")
    assert wheel.name.startswith("thorax_imaging-")
    subprocess.run([*pip, "install", "--no-deps", "--no-index", "--target", target, wheel], check=True)
    wheel.unlink()
    return target


def run(installed: Path, folder: Path, *words: str | Path) -> str:
    """Standard output of a program of the wheel, away from the checkout."""
    environment = os.environ | {"PYTHONPATH": str(installed), "XDG_CONFIG_HOME": str(folder / "config")}
    done = subprocess.run(
        [sys.executable, "-P", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_the_wheel_finds_what_it_ships(installed: Path, tmp_path: Path) -> None:
    script = (
        "from pipelines.core.install import install_line\n"
        "from pipelines.models.bundle import BUNDLES\n"
        "from pipelines.server.launch import APP_FOLDER\n"
        "from pipelines.server.viewer_files import VIEWER_FOLDER\n"
        "print(install_line('label'), APP_FOLDER, VIEWER_FOLDER, *sorted(BUNDLES.iterdir()), sep='\\n')\n"
    )
    line, app, viewer, *bundles = run(installed, tmp_path, "-c", script).splitlines()
    home = installed / "pipelines" / "shipped"
    assert line == "pip install 'thorax-imaging[label]'"
    assert (Path(app), Path(viewer)) == (home / "apps" / "cardiac", home / "apps" / "viewer")
    names = ["acdc_segmentation", "checksums.json", "chest_xray_classification"]
    assert bundles == [str(home / "bundles" / name) for name in names]


@pytest.mark.slow
@pytest.mark.parametrize("part", ["apps", "bundles"])
def test_the_wheel_holds_every_file_of_the_repository(installed: Path, part: str) -> None:
    listed = subprocess.run(
        ["git", "ls-files", part], cwd=ROOT, capture_output=True, encoding="utf-8", check=True
    )
    missing = [
        name for name in listed.stdout.splitlines() if not (installed / "pipelines/shipped" / name).is_file()
    ]
    assert listed.stdout
    assert missing == []


@pytest.mark.slow
def test_the_command_of_the_wheel_explains_itself(installed: Path, tmp_path: Path) -> None:
    assert "segment" in run(installed, tmp_path, installed / "bin" / "thorax", "--help")


@pytest.mark.slow
def test_the_wheel_segments_and_classifies(installed: Path, tmp_path: Path) -> None:
    thorax = installed / "bin" / "thorax"
    write_phantom_cohort(tmp_path / "cohort", patients=1, cine=False)
    image = tmp_path / "cohort" / "training" / "patient001" / "patient001_frame01.nii.gz"
    run(installed, tmp_path, thorax, "segment", image, "--output", tmp_path / "masks", "--device", "cpu")
    assert (tmp_path / "masks" / "patient001_frame01_seg.nii.gz").is_file()
    write_phantom_xrays(tmp_path / "xrays", patients=2, images=1)
    run(
        installed,
        tmp_path,
        thorax,
        "classify",
        tmp_path / "xrays",
        "--output",
        tmp_path / "out",
        "--device",
        "cpu",
    )
    with (tmp_path / "out" / "classification.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 2
