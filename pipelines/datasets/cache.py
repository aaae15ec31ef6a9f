"""Folders of the preprocessing cache, one for each combination of settings."""

import hashlib
import json
from pathlib import Path
from typing import Any

import monai

FORMAT = 2
"""Raised whenever the code of the preprocessing changes, so that older files are not taken."""


def cache_folder(root: Path, settings: Any) -> Path:
    """Folder below `root` that belongs to these settings alone.

    Data is told apart by the fingerprint in each item, which MONAI hashes into
    the file name; settings, the MONAI version and `FORMAT` are told apart here.

    Args:
        root: Folder of all caches.
        settings: Anything that JSON can hold.
    """
    text = json.dumps([FORMAT, monai.__version__, settings], sort_keys=True, default=str)
    return root / hashlib.sha256(text.encode()).hexdigest()[:16]
