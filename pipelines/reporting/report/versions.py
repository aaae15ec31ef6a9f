"""Versions of everything that took part, and what changed from one to the next."""

import json
import platform
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

import pipelines
from pipelines.core.manifest import PACKAGES
from pipelines.models.bundle import ACDC_BUNDLE, BUNDLES
from pipelines.reporting.html import MISSING, Table
from pipelines.reporting.language import Language
from pipelines.reporting.report.parts import Source

REPORT_PACKAGES: Final = ("matplotlib", "pandas", "scikit-learn", "scipy", "python-pptx", "weasyprint")
"""Packages that take part in the report beside those of every manifest."""

CHANGELOG: Final = BUNDLES.parent / "CHANGELOG.md"


def versions_table(sources: Sequence[Source], words: Language) -> Table:
    """Versions that made the report, beside those that the folders' manifests tell of.

    Args:
        sources: As from `read_sources`.
        words: Language.
    """
    now: dict[str, str | None] = {"thorax": pipelines.__version__, "python": platform.python_version()}
    now |= {name: _installed(name) for name in (*PACKAGES, *REPORT_PACKAGES)}
    then: dict[str, list[str]] = {}
    for source in sources:
        told: dict[str, Any] = {key: source.manifest.get(key) for key in ("thorax", "python")}
        for name, number in (told | source.manifest.get("packages", {})).items():
            if number is not None and number not in then.setdefault(name, []):
                then[name].append(number)
    names = [*now, *(name for name in then if name not in now)]
    return Table(
        words("versions.table"),
        [words("versions.package"), words("versions.now"), words("versions.runs")],
        [[name, now.get(name) or MISSING, ", ".join(then.get(name, [])) or MISSING] for name in names],
    )


def differing_versions(table: Table) -> list[str]:
    """Packages of `versions_table` that the folders were written with another version of."""
    return [str(row[0]) for row in table.rows if row[2] != MISSING and row[1] != row[2]]


def changes(path: Path = CHANGELOG) -> list[str]:
    """User-visible changes of this version, a sentence each; empty where no changelog is shipped.

    Args:
        path: Changelog in Markdown: `## VERSION`, then a list.
    """
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8")
    _, _, rest = text.partition(f"\n## {pipelines.__version__}\n")
    section = re.split(r"\n## ", rest, maxsplit=1)[0]
    entries = re.split(r"^- ", section, flags=re.MULTILINE)[1:]
    return [" ".join(entry.split()).replace("`", "") for entry in entries]


def bundle_changes(words: Language) -> Table:
    """Changes of the bundle from its metadata, the newest first."""
    metadata = ACDC_BUNDLE / "configs" / "metadata.json"
    found: dict[str, str] = json.loads(metadata.read_text(encoding="utf-8"))["changelog"]
    return Table(
        words("changes.bundle", name=ACDC_BUNDLE.name),
        [words("changes.version"), words("changes.change")],
        [[number, change] for number, change in found.items()],
    )


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
