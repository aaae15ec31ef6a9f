"""Readers of MS-CMRSeg 2019: three sequences of the same hearts in short-axis stacks.

Each sequence (bSSFP, called C0 in the files; T2; late enhancement, LGE) is a dataset of its own here, so
that a patient is counted once and a table has a column for each contrast. The challenge's folders differ
between its packages; files are found by their names at any depth. All sequences show the heart at one
moment, which counts as ED. Labels that were not released are missing without being a problem. Files named
`subjectN_DE.nii.gz`, whose labels have values of 1 to 3 in an order that the anatomy tells, are read too.

References:
    Zhuang, IEEE TPAMI 41(12), 2019, doi:10.1109/TPAMI.2018.2869576; Zhuang et al., Medical Image Analysis
    81, 2022, doi:10.1016/j.media.2022.102528; layout: https://zmiclab.github.io/zxh/0/mscmrseg19/data.html
"""

import re
from pathlib import Path
from typing import Final

from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Dataset
from pipelines.datasets.gather import check_root, gather, single_volume

VALUES: Final = {200: AcdcLabel.MYO, 500: AcdcLabel.LV, 600: AcdcLabel.RV}
"""Meaning of the label values."""


def read_mscmr_bssfp(root: Path) -> Dataset:
    """Balanced SSFP images: files `patientN_C0.nii.gz`.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    return _read("mscmr-bssfp", root, "C0")


def read_mscmr_t2(root: Path) -> Dataset:
    """T2-weighted images: files `patientN_T2.nii.gz`.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    return _read("mscmr-t2", root, "T2")


def read_mscmr_lge(root: Path) -> Dataset:
    """Late gadolinium enhancement images: files `patientN_LGE.nii.gz`.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    return _read("mscmr-lge", root, "LGE")


def _read(name: str, root: Path, sequence: str) -> Dataset:
    check_root(name, root)
    # Copies that are passed around call patients subjects, LGE DE, and have labels of 1 to 3.
    sequences = {"LGE": "(?:LGE|DE)"}.get(sequence, sequence)
    pattern = re.compile(rf"(patient|subject)(\d+)_{sequences}(_manual)?\.nii(?:\.gz)?")
    cases: dict[str, Path] = {}
    labels: dict[str, Path] = {}
    for path in sorted(root.rglob("*.nii*")):
        if match := pattern.fullmatch(path.name):
            (labels if match[3] else cases)[f"{match[1]}{match[2]}"] = path
    in_order = sorted(cases.items(), key=lambda case: (int(re.sub(r"\D", "", case[0])), case[0]))
    return gather(
        name,
        root,
        dict(in_order),
        lambda patient, image: single_volume(patient, image, labels.get(patient), VALUES, by_anatomy=True),
        expected=f"files patientN_{sequence}.nii.gz",
    )
