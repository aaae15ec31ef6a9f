"""The registry of readers: which datasets can be read, and what there is to know of each.

It imports nothing but the records until a dataset is read, and is the only place that lists datasets:
`thorax datasets`, the documentation and every command with `--reader` take them from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Final

from pipelines.datasets.records import Dataset
from pipelines.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Reader:
    """A dataset that can be read.

    Attributes:
        name: What `--reader` takes.
        title: Full name.
        content: What it holds: patients, images, and the format of the files.
        labels: What its labels say, and how they become ACDC's.
        access: How to get it.
        licence: Under which terms.
        layout: Folders and files below the root, a line each.
        reference: DOI or address of the publication.
        function: Where the reader is, as `module:function`.
    """

    name: str
    title: str
    content: str
    labels: str
    access: str
    licence: str
    layout: str
    reference: str
    function: str

    def read(self, root: Path) -> Dataset:
        """Patients and problems of a folder in this dataset's layout; voxels are not read.

        Args:
            root: Existing folder.

        Raises:
            DataError: If there is no such folder or no usable patient in it.
        """
        module, name = self.function.split(":")
        function: Callable[[Path], Dataset] = getattr(import_module(module), name)
        return function(root)


READERS: Final = {
    reader.name: reader
    for reader in (
        Reader(
            name="acdc",
            title="Automated Cardiac Diagnosis Challenge (2017)",
            content="150 patients in five groups, short-axis cine MRI at ED and ES, NIfTI",
            labels="RV 1, MYO 2, LV 3, at ED and ES: the convention used here",
            access="free, https://www.creatis.insa-lyon.fr/Challenge/acdc/",
            licence="CC BY-NC-SA 4.0",
            layout=(
                "training/patient001/Info.cfg\n"
                "training/patient001/patient001_frame01.nii.gz\n"
                "training/patient001/patient001_frame01_gt.nii.gz\n"
                "training/patient001/patient001_4d.nii.gz\n"
                "testing/patient101/..."
            ),
            reference="https://doi.org/10.1109/TMI.2018.2837502",
            function="pipelines.datasets.acdc:read_acdc",
        ),
    )
}
"""Readers by name."""


def find_reader(name: str) -> Reader:
    """Reader of a dataset by name.

    Raises:
        ConfigError: If there is none of this name.
    """
    if name not in READERS:
        raise ConfigError(f"expected a reader among {', '.join(READERS)}, found {name!r}")
    return READERS[name]


def read_dataset(name: str, root: Path) -> Dataset:
    """Patients and problems of a dataset's folder; voxels are not read.

    Args:
        name: Reader, a key of `READERS`.
        root: Existing folder in its layout.

    Raises:
        ConfigError: If there is no reader of this name.
        DataError: If there is no such folder or no usable patient in it.
    """
    return find_reader(name).read(root)
