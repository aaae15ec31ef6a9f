"""The registry of readers: which datasets can be read, and what there is to know of each.

It imports nothing but the records until a dataset is read, and is the only place that lists datasets:
`thorax datasets`, the documentation and every command with `--reader` take them from here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pkgutil import resolve_name
from typing import Final

from pipelines.core.errors import ConfigError
from pipelines.core.records import Dataset


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
        options: What the reader takes after the folder, where it reads several datasets.
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
    options: tuple[str, ...] = ()

    def read(self, root: Path) -> Dataset:
        """Patients and problems of a folder in this dataset's layout; voxels are not read.

        Args:
            root: Existing folder.

        Raises:
            DataError: If there is no such folder or no usable patient in it.
        """
        function: Callable[..., Dataset] = resolve_name(self.function)
        return function(root, *self.options)


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
            function="pipelines.datasets.nifti_releases:read_acdc",
        ),
        Reader(
            name="sunnybrook",
            title="Sunnybrook Cardiac Data (2009 Cardiac MR Left Ventricle Segmentation Challenge)",
            content="45 patients in four groups, short-axis cine MRI, DICOM and contours as text",
            labels=(
                "inner contour: LV with papillary muscles; between inner and outer contour: MYO, at ED; "
                "RV is not labelled; slices without contours are left out of every metric"
            ),
            access="free, https://www.cardiacatlas.org/sunnybrook-cardiac-data/",
            licence="CC0 1.0",
            layout=(
                "scd_patientdata.csv\n"
                "SCD_IMAGES_01/SCD0000101/CINESAX_300/IM-0003-0059.dcm\n"
                "SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert/IM-0001-0059-icontour-manual.txt\n"
                "SCD_ManualContours/SC-HF-I-01/contours-manual/IRCCI-expert/IM-0001-0059-ocontour-manual.txt"
            ),
            reference="http://hdl.handle.net/10380/3070",
            function="pipelines.datasets.dicom_releases:read_sunnybrook",
        ),
        Reader(
            name="mmwhs-mr",
            title="Multi-Modality Whole Heart Segmentation (2017), MRI",
            content="20 labelled and 40 other patients, isotropic 3-D MRI of the whole heart, NIfTI",
            labels=(
                "LV 500, MYO 205, RV 600; LA 420, RA 550, AO 820 and PA 850 become background; "
                "one moment, taken as ED"
            ),
            access="on request, https://zmiclab.github.io/zxh/0/mmwhs/",
            licence="agreement with the organisers",
            layout=(
                "mr_train/mr_train_1001_image.nii.gz\n"
                "mr_train/mr_train_1001_label.nii.gz\n"
                "mr_test/mr_test_2001_image.nii.gz"
            ),
            reference="https://doi.org/10.1016/j.media.2016.02.006",
            function="pipelines.datasets.nifti_releases:read_mmwhs",
            options=("mmwhs-mr", "mr"),
        ),
        Reader(
            name="mmwhs-ct",
            title="Multi-Modality Whole Heart Segmentation (2017), CT",
            content="20 labelled and 40 other patients, 3-D CT angiography of the whole heart, NIfTI",
            labels="as mmwhs-mr; networks trained on MRI are not meant for CT",
            access="on request, https://zmiclab.github.io/zxh/0/mmwhs/",
            licence="agreement with the organisers",
            layout=(
                "ct_train1/ct_train_1001_image.nii.gz\n"
                "ct_train1/ct_train_1001_label.nii.gz\n"
                "ct_test1/ct_test_2001_image.nii.gz"
            ),
            reference="https://doi.org/10.1016/j.media.2016.02.006",
            function="pipelines.datasets.nifti_releases:read_mmwhs",
            options=("mmwhs-ct", "ct"),
        ),
        Reader(
            name="hvsmr",
            title="HVSMR 2016, congenital heart disease",
            content="10 labelled and 10 other patients, nearly isotropic 3-D MRI, NIfTI",
            labels=(
                "myocardium 1 (both ventricles), blood pool 2 (all chambers and vessels): neither is RV, MYO "
                "or LV, so nothing can be evaluated; images can be explored and segmented"
            ),
            access="on request, http://segchd.csail.mit.edu/",
            licence="agreement with the organisers",
            layout=(
                "Training dataset/training_sa_crop_pat0.nii.gz\n"
                "Training dataset/training_axial_crop_pat0.nii.gz (if there is no sa_crop)\n"
                "Ground truth/training_sa_crop_pat0-label.nii.gz (not read)"
            ),
            reference="https://doi.org/10.1007/978-3-319-24574-4_10",
            function="pipelines.datasets.nifti_releases:read_hvsmr",
        ),
        Reader(
            name="hvsmr2",
            title="HVSMR-2.0, congenital heart disease",
            content="60 patients, nearly isotropic 3-D MRI, NIfTI",
            labels=(
                "LV 1 (without papillary muscles), RV 2; LA 3, RA 4, AO 5, PA 6, SVC 7 and IVC 8 become "
                "background; MYO is not labelled; one moment, taken as ED"
            ),
            access="free, on figshare through the reference",
            licence="as stated on figshare",
            layout="cropped/pat0_cropped.nii.gz\ncropped/pat0_cropped_seg.nii.gz",
            reference="https://doi.org/10.1038/s41597-024-03469-9",
            function="pipelines.datasets.nifti_releases:read_hvsmr2",
        ),
        Reader(
            name="ukbb",
            title="UK Biobank, converted by ukbb_cardiac",
            content="short-axis cine MRI, NIfTI, a folder for each patient",
            labels="LV 1, MYO 2, RV 3 in label_sa*; seg_sa* are predictions and are not read",
            access="on application, https://www.ukbiobank.ac.uk",
            licence="material transfer agreement of UK Biobank",
            layout=(
                "1000001/sa.nii.gz\n"
                "1000001/sa_ED.nii.gz and sa_ES.nii.gz\n"
                "1000001/label_sa_ED.nii.gz and label_sa_ES.nii.gz, or the 4-D label_sa.nii.gz"
            ),
            reference="https://doi.org/10.1186/s12968-018-0471-x",
            function="pipelines.datasets.dicom_releases:read_ukbb",
        ),
        Reader(
            name="ukbb-dicom",
            title="UK Biobank, field 20209 as DICOM",
            content="short-axis cine MRI, DICOM, a series for each slice or one for all",
            labels="none: images can be explored and segmented; frame 1 is ED, ES is not known",
            access="on application, https://www.ukbiobank.ac.uk",
            licence="material transfer agreement of UK Biobank",
            layout=(
                "1000001/CINE_segmented_SAX_b1/*.dcm\n"
                "1000001/CINE_segmented_SAX_b2/*.dcm\n"
                "or 1000001/*.dcm, told apart by their series descriptions"
            ),
            reference="https://doi.org/10.1186/s12968-016-0227-4",
            function="pipelines.datasets.dicom_releases:read_ukbb_dicom",
        ),
        Reader(
            name="mnms",
            title="Multi-Centre, Multi-Vendor and Multi-Disease Cardiac Segmentation Challenge (M&Ms, 2020)",
            content="375 patients of five groups of scanners, short-axis cine MRI, 4-D NIfTI and a table",
            labels="LV 1, MYO 2, RV 3, at ED and ES; frames in the table count from 0",
            access="free after registration, https://www.ub.edu/mnms/",
            licence="as stated on the page of the challenge",
            layout=(
                "211230_M&Ms_Dataset_information_diagnosis_opendataset.csv\n"
                "Training/Labeled/A0S9V9/A0S9V9_sa.nii.gz\n"
                "Training/Labeled/A0S9V9/A0S9V9_sa_gt.nii.gz\n"
                "Training/Unlabeled/..., Validation/..., Testing/..."
            ),
            reference="https://doi.org/10.1109/TMI.2021.3090082",
            function="pipelines.datasets.nifti_releases:read_mnms",
        ),
        *(
            Reader(
                name=name,
                title=f"Multi-sequence Cardiac MR Segmentation Challenge (2019), {sequence}",
                content=f"45 patients with cardiomyopathy, short-axis {sequence} MRI, NIfTI",
                labels="MYO 200, LV 500, RV 600; one moment, taken as ED",
                access="on request, https://zmiclab.github.io/zxh/0/mscmrseg19/",
                licence="agreement with the organisers",
                layout=f"patient1_{file}.nii.gz\npatient1_{file}_manual.nii.gz (folders may be any)",
                reference="https://doi.org/10.1109/TPAMI.2018.2869576",
                function="pipelines.datasets.nifti_releases:read_mscmr",
                options=(name, file),
            )
            for name, sequence, file in (
                ("mscmr-bssfp", "balanced SSFP", "C0"),
                ("mscmr-t2", "T2-weighted", "T2"),
                ("mscmr-lge", "late gadolinium enhancement", "LGE"),
            )
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
