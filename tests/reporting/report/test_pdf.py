"""Tests of what laying out a PDF leaves behind; the PDF itself is tested with the whole report."""

import importlib.util
import subprocess
import sys

import pytest


def test_truncated_pictures_stay_refused_after_a_pdf() -> None:
    if importlib.util.find_spec("weasyprint") is None:
        pytest.skip("WeasyPrint is not installed")
    code = (
        "from PIL import ImageFile\n"
        "from pipelines.core.errors import ConfigError\n"
        "from pipelines.reporting.report.pdf import require_pdf\n"
        "try:\n"
        "    require_pdf()\n"
        "except ConfigError:\n"
        "    pass\n"
        "print(ImageFile.LOAD_TRUNCATED_IMAGES)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True)
    assert done.stdout.strip() == "False"
