"""Reader of MM-WHS: whole hearts in 3-D MRI and CT with seven labelled structures.

Images are not short-axis stacks but isotropic volumes along the body's or the scanner's axes, and each
heart is there at one moment of its cycle, which the files do not name: it counts as ED, and there is no
ejection fraction. The test cases of the release come without labels.

References:
    Zhuang and Shen, Medical Image Analysis 31, 2016, doi:10.1016/j.media.2016.02.006; layout and label
    values: https://zmiclab.github.io/zxh/0/mmwhs/data.html
"""

from pathlib import Path
from typing import Final

from pipelines.core.labels import AcdcLabel
from pipelines.core.records import Dataset
from pipelines.datasets.gather import check_root, gather, single_volume

VALUES: Final = {
    500: AcdcLabel.LV,
    600: AcdcLabel.RV,
    205: AcdcLabel.MYO,
    420: AcdcLabel.BACKGROUND,  # left atrium
    421: AcdcLabel.BACKGROUND,  # left atrium, as users of the data report it in one label
    550: AcdcLabel.BACKGROUND,  # right atrium
    820: AcdcLabel.BACKGROUND,  # ascending aorta
    850: AcdcLabel.BACKGROUND,  # pulmonary artery
}
"""Meaning of the label values; atria and vessels become background."""


def read_mmwhs_mr(root: Path) -> Dataset:
    """MRI volumes: files `mr_*_image.nii.gz` at any depth.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    return _read("mmwhs-mr", root, "mr")


def read_mmwhs_ct(root: Path) -> Dataset:
    """CT volumes: files `ct_*_image.nii.gz` at any depth.

    Raises:
        DataError: If there is no such folder or no usable volume in it.
    """
    return _read("mmwhs-ct", root, "ct")


def _read(name: str, root: Path, modality: str) -> Dataset:
    check_root(name, root)
    cases = {
        path.name.removesuffix("_image.nii.gz"): path for path in root.rglob(f"{modality}_*_image.nii.gz")
    }

    def label_of(patient: str, image: Path) -> Path | None:
        # Some copies keep images and labels in folders of their own.
        places = (image.parent, image.parent.parent / "label", image.parent.parent / "labels")
        paths = [place / f"{patient}_label.nii.gz" for place in places]
        return next((path for path in paths if path.is_file()), paths[0] if "_train_" in patient else None)

    return gather(
        name,
        root,
        dict(sorted(cases.items())),
        lambda patient, image: single_volume(patient, image, label_of(patient, image), VALUES),
        expected=f"files {modality}_train_NNNN_image.nii.gz",
    )
