"""Pages of docs/results that depend on the shipped weights: which are out of date, and make them again.

`make stale` lists the pages whose weights have changed since, and `make results HEARTS=... XRAYS=...` makes
those again: each by the commands below, in minutes to an hour on two cores. Both write targets.md, the values
of these pages against the targets.
"""

import argparse
import hashlib
import json
import re
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


UNSEEN: Final = (
    "cross-validate unet --unseen-masks --data {data} --output {work}/unseen --resume"
    " --set max_epochs=50 --set val_interval=50 --set patience=1000"
)
"""Masks of the training patients by networks that had not seen them; made once for several pages."""


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
    "disease": Page(
        ACDC,
        ("unet/model.pt",),
        (
            UNSEEN,
            "evaluate {data} --network unet --keep-masks {work}/unseen --output {work}/unet --overwrite",
            "disease {data} --masks {work}/unseen --test-set --output {work}/disease --overwrite",
            "report UNet={work}/disease --title 'Disease group' --output {page}",
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
            UNSEEN,
            "evaluate {data} --network unet --keep-masks {work}/masks --output {work}/unet --overwrite",
            "benchmark measures {data} --unseen-masks {work}/unseen --test-masks {work}/masks"
            " --output {work}/measures --overwrite",
            "report {work}/measures --title 'What the indices are worth' --output {page}",
        ),
    ),
    "quality": Page(
        ACDC,
        ("unet/model.pt", "attention_unet/model.pt", "unet/quality.json"),
        (
            f"quality evaluate {{data}} {ACDC}/models/unet/quality.json --split test"
            " --partner attention_unet --output {work}/quality --overwrite",
            "report UNet={work}/quality --title 'Quality score' --output {page}",
        ),
    ),
}


TARGETS: Final = {
    ("acdc-shipped", "UNet"): {
        "Dice mean": "at least 0.926",
        "Dice RV": "at least 0.917",
        "Dice MYO": "at least 0.903",
        "Dice LV": "at least 0.959",
        "HD95 mean, mm": "at most 3",
        "LV EF error, percentage points": "at most 2",
        "mass error, g": "at most 7",
    },
    ("acdc-shipped", "VNet"): {"Dice mean": "at least 0.905"},
    ("quality", "Pearson"): {"quick, as acquired": "at least 0.7", "thorough, as acquired": "at least 0.7"},
    ("chest-xray-lite0", "EfficientNet-Lite0"): {
        "accuracy": "at least 0.972",
        "sensitivity": "at least 0.965",
        "specificity": "at least 0.965",
        "expected calibration error": "at most 0.02",
    },
    ("chest-xray-lite0", "EfficientNet-Lite0, a seed each"): {"auroc": "at least 0.997"},
}
"""Of a page and a column of its tables: the bound of the value in each row, by the row's first cell."""

GROSS: Final = re.compile(r"Of (\d+) slices with more than 1 mL of a structure, (\d+) have a Dice below 0\.5")
SEEDS: Final = re.compile(r"over the seeds 0 to 5 is ([\d.]+) on average")
"""Of the how-to on the disease group: its page has one seed, and seeds differ by more than the margin."""


def targets_page() -> str:
    """Values on the other pages against their bounds, as the page targets.md."""
    texts = {path.stem: path.read_text(encoding="utf-8") for path in PAGES_DIR.glob("*.md")}
    found = [
        (f"[{page}]({page}.md), {column}: {row}", bound, cell_of(texts[page], row, column))
        for (page, column), rows in TARGETS.items()
        for row, bound in rows.items()
    ]
    if gross := GROSS.search(texts["errors"]):
        share = f"{100 * int(gross[2]) / int(gross[1]):.1f}"
        words = "[errors](errors.md), slices of more than 1 mL with a Dice below 0.5, in percent"
        found.append((words, "at most 0.5", share))
    how_to = (PAGES_DIR.parent / "how-to" / "disease.md").read_text(encoding="utf-8")
    seeds = SEEDS.search(" ".join(how_to.split()))
    if seeds is None:
        raise ValueError(f"expected {SEEDS.pattern!r} in docs/how-to/disease.md, found none")
    one = cell_of(texts["disease"], "cross-validation, predicted masks", "accuracy")
    words = "[disease](../how-to/disease.md#classifier), accuracy: cross-validation, predicted masks"
    found.append((words, "at least 0.95", f"{seeds[1]} (mean of six seeds; {one} with the first)"))
    lines = []
    for words, bound, value in found:
        number, limit = float(value.split()[0]), float(bound.split()[2])
        met = number >= limit if bound.startswith("at least") else number <= limit
        lines.append(f"| {words} | {bound} | {value} | {'yes' if met else '**no**'} |")
    lead = (
        "Made by `make results` from the values on the linked pages, as they are rounded there. The weights "
        "measured were not trained on the patients measured. Targets of "
        "[corrections by clicks](interaction.md) and of [speed](speed.md) stand on their own pages."
    )
    header = "| page and value | target | measured | met |\n| --- | --- | --- | --- |"
    return "\n".join(["# Targets and measured values", "", lead, "", header, *lines, ""])


def cell_of(text: str, row: str, column: str) -> str:
    """A cell of the first table of a Markdown page that has the column and the row."""
    header: list[str] = []
    lines = text.splitlines()
    for line, after in zip(lines, [*lines[1:], ""], strict=True):
        cells = [cell.strip() for cell in line[1:-1].split("|")]
        if after.startswith("| ---"):
            header = cells
        elif cells[0] == row and column in header:
            return cells[header.index(column)]
    raise ValueError(f"expected a row {row!r} with a column {column!r}, found none")


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
    (PAGES_DIR / "targets.md").write_text(targets_page(), encoding="utf-8")
    sys.exit(1 if stale(record) else 0)


if __name__ == "__main__":
    main()
