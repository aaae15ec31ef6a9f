"""Pages of docs/results that depend on the shipped weights: which are out of date, and make them again.

`make stale` lists the pages whose weights have changed since, and `make results HEARTS=... XRAYS=...` makes
those again: each by the commands below, in minutes to an hour on two cores.
"""

import argparse
import hashlib
import json
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
PAGES_DIR: Final = ROOT / "docs" / "results"
RECORD: Final = PAGES_DIR / "weights.json"
"""Of each page: the weights that it was measured with, as the first digits of the SHA-256 of their files."""

ACDC: Final = "bundles/acdc_segmentation"
XRAYS: Final = "bundles/chest_xray_classification"


@dataclass(frozen=True)
class Page:
    """A page: the weights it depends on, and commands; `{data}`, `{work}` and `{page}` are filled in."""

    bundle: str
    weights: tuple[str, ...]
    commands: tuple[str, ...]


def _evaluated(bundle: str, title: str, **networks: str) -> Page:
    names = tuple(networks)
    evaluations = [f"evaluate {{data}} --network {one} --output {{work}}/{one} --overwrite" for one in names]
    runs = " ".join(f"{label}={{work}}/{one}" for one, label in networks.items())
    page = f"report {runs} --title '{title}' --output {{page}} --card {bundle}/docs/README.md"
    return Page(bundle, tuple(f"{one}/model.pt" for one in names), (*evaluations, page))


PAGES: Final = {
    "acdc-shipped": _evaluated(
        ACDC, "The shipped networks on ACDC", unet="UNet", attention_unet="AttentionUnet", vnet="VNet"
    ),
    "chest-xray-lite0": _evaluated(
        XRAYS,
        "The shipped networks on chest X-rays",
        efficientnet_lite0="EfficientNet-Lite0",
        resnet18_tuned="ResNet-18",
    ),
    "comparison": Page(
        ACDC,
        ("unet/model.pt", "attention_unet/model.pt", "vnet/model.pt"),
        (
            "compare --data {data} --model UNet=unet --model AttentionUnet=attention_unet"
            " --model VNet=vnet --output {work}/compare",
            "report {work}/compare --title 'Comparison of models' --output {page}",
        ),
    ),
    "errors": Page(
        ACDC,
        ("unet/model.pt",),
        (
            "analyse {data} --network unet --split test --output {work}/errors --overwrite",
            "report UNet={work}/errors --title 'Errors of the UNet' --output {page}",
        ),
    ),
    "interaction": Page(
        ACDC,
        ("unet/model.pt", "corrector/model.pt"),
        (
            "benchmark clicks {data} --split test --output {work}/clicks --overwrite",
            "report {work}/clicks --title 'Correction by clicks and scribbles' --output {page}",
        ),
    ),
    "measures": Page(
        ACDC,
        ("unet/model.pt",),
        (
            "cross-validate unet --unseen-masks --data {data} --output {work}/unseen --resume"
            " --set max_epochs=50 --set val_interval=50 --set patience=1000",
            "evaluate {data} --network unet --keep-masks {work}/masks --output {work}/unet --overwrite",
            "benchmark measures {data} --unseen-masks {work}/unseen --test-masks {work}/masks"
            " --output {work}/measures --overwrite",
            "report {work}/measures --title 'What the indices can tell' --output {page}",
        ),
    ),
    "quality": Page(
        ACDC,
        ("unet/model.pt", "unet/quality.json"),
        (
            f"quality evaluate {{data}} {ACDC}/models/unet/quality.json --split test"
            " --output {work}/quality --overwrite",
            "report UNet={work}/quality --title 'Quality score' --output {page}",
        ),
    ),
}


def measured_with(page: Page) -> dict[str, str]:
    """First digits of the SHA-256 of each file of weights that a page depends on, as they are now."""
    folder = ROOT / page.bundle / "models"
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16] for name in page.weights}


def stale(record: dict[str, dict[str, str]]) -> dict[str, list[str]]:
    """Of each page out of date: the files of weights that are others now."""
    found = {}
    for name, page in PAGES.items():
        known = record.get(name, {})
        if changed := [file for file, digest in measured_with(page).items() if known.get(file) != digest]:
            found[name] = changed
    return found


def make(name: str, data: Path, work: Path) -> None:
    """Make a page again; the first command that fails ends it, and the page stays as it was."""
    page = PAGES[name]
    values = {"data": data.resolve(), "work": work, "page": (PAGES_DIR / f"{name}.md").relative_to(ROOT)}
    for command in page.commands:
        words = [word.format(**values) for word in shlex.split(command)]
        sys.stdout.write(f"thorax {' '.join(words)}\n")
        subprocess.run([Path(sys.executable).with_name("thorax"), *words], cwd=ROOT, check=True)


def main() -> None:
    """Print the pages that are out of date; with a folder of data, make them again."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hearts", type=Path, help="folder of 'thorax prepare acdc'")
    parser.add_argument("--xrays", type=Path, help="folder of 'thorax prepare chest-xray'")
    parser.add_argument("--pages", nargs="*", choices=sorted(PAGES), help="these, out of date or not")
    chosen = parser.parse_args()
    record = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.is_file() else {}
    late = stale(record)
    for name, files in late.items():
        sys.stdout.write(f"{name}: out of date, other weights now in {', '.join(files)}\n")
    folders = {ACDC: chosen.hearts, XRAYS: chosen.xrays}
    for name in chosen.pages or late:
        data = folders[PAGES[name].bundle]
        if data is not None:
            make(name, data, ROOT / "runs" / "results")
            record[name] = measured_with(PAGES[name])
            RECORD.write_text(json.dumps(record, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    sys.exit(1 if stale(record) else 0)


if __name__ == "__main__":
    main()
