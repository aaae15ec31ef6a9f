"""Headers of volumes that clients send."""

import gzip
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.server.nrrd import write_nrrd
from pipelines.server.sent_volume import sent_shape

from .conftest import heart, write_nifti


def test_the_shape_is_the_files(tmp_path: Path) -> None:
    assert sent_shape(write_nifti(tmp_path / "a.nii.gz", heart())) == (24, 20, 5)
    assert sent_shape(write_nifti(tmp_path / "a.nii", heart()[..., None])) == (24, 20, 5)
    write_nrrd(tmp_path / "a.nrrd", heart().astype(np.uint8), np.eye(4))
    assert sent_shape(tmp_path / "a.nrrd") == (24, 20, 5)
    nib.save(nib.Nifti2Image(heart(), np.eye(4)), tmp_path / "two.nii")
    assert sent_shape(tmp_path / "two.nii") == (24, 20, 5)
    big = nib.Nifti1Image(heart(), np.eye(4), nib.Nifti1Header(endianness=">"))
    nib.save(big, tmp_path / "big.nii.gz")
    assert sent_shape(tmp_path / "big.nii.gz") == (24, 20, 5)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("dim", [3, 30000, 30000, 30000, 1, 1, 1, 1], "64000000 voxels"),
        ("dim", [3, -4, 5, 3, 1, 1, 1, 1], "64000000 voxels"),
        ("vox_offset", 2e9, "expected a header of at most 1000000 bytes"),
        ("vox_offset", float("nan"), "expected a header of at most 1000000 bytes"),
    ],
)
def test_a_header_that_claims_too_much_is_refused(
    tmp_path: Path, name: str, field: str, value: object, reason: str
) -> None:
    header = nib.Nifti1Image(heart(), np.eye(4)).header
    header[field] = value
    opened = gzip.open if name.endswith(".gz") else open
    with opened(tmp_path / name, "wb") as stream:
        stream.write(header.binaryblock)
    with pytest.raises(DataError, match=reason):
        sent_shape(tmp_path / name)


def test_an_nrrd_that_claims_too_much_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.nrrd").write_text(
        "NRRD0004\ntype: uint8\ndimension: 3\nsizes: 30000 30000 30000\nencoding: raw\n\n"
    )
    with pytest.raises(DataError, match="64000000 voxels"):
        sent_shape(tmp_path / "a.nrrd")
