"""Segments studies: label maps, cardiac indices, overlays and warnings for each patient."""

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.datasets.nifti import Volume, slices_last, write_label
from pipelines.datasets.records import Phase, Problem
from pipelines.errors import ConfigError, DataError, OutputError
from pipelines.evaluation.indices import CardiacIndices, indices_from_volumes, structure_volumes_ml
from pipelines.files import output_folder, write_csv
from pipelines.inference.cine import find_ed_es
from pipelines.inference.inputs import Study, StudyImage, find_studies
from pipelines.inference.plausibility import check_indices, check_mask
from pipelines.labels import AcdcLabel
from pipelines.progress import Progress
from pipelines.reporting.overlay import curve_figure, overlay_figure

logger = logging.getLogger(__name__)

Mask = npt.NDArray[np.uint8]


class MaskPrediction(Protocol):
    """What is used of a prediction."""

    @property
    def mask(self) -> Mask:
        """`(X, Y, Z)` uint8 label map on the volume's own grid."""


class MaskPredictor(Protocol):
    """Anything that segments a 3-D volume."""

    def predict(self, volume: Volume, /) -> MaskPrediction:
        """Segment one volume `(X, Y, Z)`, float32, in any order of axes."""


@dataclass(slots=True)
class StudyResult:
    """What was measured in one study.

    Attributes:
        study: Name of the study, which its files begin with.
        patient: Identifier as the source gives it.
        indices: Volumes, ejection fractions and mass; None where not known.
        volumes_ml: Volumes in mL of a single volume of unknown phase, else empty.
        frame_ed: Frame of ED in the cine, 1-based, or None.
        frame_es: Frame of ES in the cine, 1-based, or None.
        reason: Why an index is None, `""` if none is.
        warnings: Plausibility warnings in plain words.
        files: Files written, label maps first.
    """

    study: str
    patient: str
    indices: CardiacIndices = field(default_factory=lambda: indices_from_volumes(None, None))
    volumes_ml: Mapping[AcdcLabel, float] = field(default_factory=dict)
    frame_ed: int | None = None
    frame_es: int | None = None
    reason: str = ""
    warnings: list[str] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)

    def as_row(self) -> dict[str, Any]:
        """The result as a row of `indices.csv`; what is not known is None."""
        indices = asdict(self.indices)
        del indices["reason"]
        return {
            "patient": self.patient,
            "study": self.study,
            **{name: None if value is None else round(value, 2) for name, value in indices.items()},
            "frame_ed": self.frame_ed,
            "frame_es": self.frame_es,
            **{
                f"{label.name.lower()}_ml_unknown_phase": round(self.volumes_ml[label], 2)
                if self.volumes_ml
                else None
                for label in (AcdcLabel.LV, AcdcLabel.RV, AcdcLabel.MYO)
            },
            "reason": self.reason,
            "warnings": "; ".join(self.warnings),
        }


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """Outcome of a run.

    Attributes:
        output: Folder with the results.
        results: One result for each study that was segmented.
        problems: What was put aside, and why.
    """

    output: Path
    results: list[StudyResult]
    problems: list[Problem]


def segment(
    inputs: Sequence[Path], output: Path, predictor: MaskPredictor, *, progress: Progress | None = None
) -> SegmentReport:
    """Label maps, `indices.csv`, overlays and curves for all studies found.

    For an image `NAME` the folder gets `NAME_seg.nii.gz` on the image's own grid,
    `NAME_overlay.png` (for a cine one for ED and one for ES) and, for a cine,
    `NAME_curve.png`. `indices.csv` has a row for each study and is brought up to
    date after each; `problems.csv` lists what was put aside. A cine is segmented
    frame by frame, and only its label maps are kept.

    Args:
        inputs: Existing NIfTI files, DICOM series or folders of them.
        output: Folder for the results, made if it does not exist.
        predictor: Segments one volume.
        progress: Called as the work goes on.

    Returns:
        Results and problems. A volume of unknown phase has volumes only.

    Raises:
        DataError: If nothing was found, or no study could be segmented.
        OutputError: If a result cannot be written.
    """
    studies, problems = find_studies(inputs)
    output_folder(output)
    report = SegmentReport(output, [], problems)
    _write_tables(report)
    for number, study in enumerate(studies):
        tell = _teller(progress, number, len(studies), study.name)
        tell("")
        try:
            result = _segment_study(study, output, predictor, tell, report.problems)
        except (ConfigError, OutputError):
            raise
        except DataError as error:
            report.problems.append(Problem(study.patient, study.images[0].path, str(error)))
        except Exception as error:  # one study that nobody foresaw must not cost the whole cohort
            logger.exception("cannot segment %s", study.name)
            reason = f"unexpected {type(error).__name__}: {error}"
            report.problems.append(Problem(study.patient, study.images[0].path, reason))
        else:
            report.results.append(result)
        _write_tables(report)
        if progress is not None:
            progress(number + 1, len(studies), study.name)
    if not report.results:
        reasons = "; ".join(f"{problem.path}: {problem.reason}" for problem in report.problems[:3])
        raise DataError(f"expected at least one image that can be segmented, found {reasons}")
    return report


def _segment_study(
    study: Study,
    output: Path,
    predictor: MaskPredictor,
    tell: Callable[[str], None],
    problems: list[Problem],
) -> StudyResult:
    result = StudyResult(study.name, study.patient)
    phases_ml: dict[Phase, Mapping[AcdcLabel, float]] = {}
    faults: list[Problem] = []
    for image in study.images:
        try:
            volume, warnings = image.load()
            result.warnings += warnings
            if image.phase is None and volume.array.ndim == 4:
                _segment_cine(image, volume, output, predictor, tell, result)
                continue
            volumes_ml = _segment_volume(image, volume, output, predictor, result)
        except DataError as error:
            faults.append(Problem(study.patient, image.path, str(error)))
            continue
        if image.phase is None:
            result.volumes_ml = volumes_ml
            result.reason = "one volume of unknown phase, EF needs ED and ES"
        else:
            phases_ml[image.phase] = volumes_ml
            _set_frame(result, image.phase, image.frame)
    if len(faults) == len(study.images):
        raise DataError("; ".join(fault.reason for fault in faults))
    problems += faults
    if phases_ml:
        _set_indices(result, phases_ml.get(Phase.ED), phases_ml.get(Phase.ES))
    return result


def _segment_volume(
    image: StudyImage, volume: Volume, output: Path, predictor: MaskPredictor, result: StudyResult
) -> Mapping[AcdcLabel, float]:
    if volume.array.ndim != 3:
        raise DataError(
            f"expected one 3-D frame for {image.phase}, found shape {volume.array.shape} in {image.path}"
        )
    mask = predictor.predict(volume).mask
    path = output / f"{image.name}_seg.nii.gz"
    write_label(path, mask, volume.affine)
    result.files.append(path)
    _check_and_draw(volume, mask, output / f"{image.name}_overlay.png", image.phase, result)
    return structure_volumes_ml(mask, volume.spacing_mm)


def _segment_cine(
    image: StudyImage,
    cine: Volume,
    output: Path,
    predictor: MaskPredictor,
    tell: Callable[[str], None],
    result: StudyResult,
) -> None:
    frames = cine.array.shape[3]
    masks = np.zeros(cine.array.shape, dtype=np.uint8)
    curves: list[Mapping[AcdcLabel, float]] = []
    for index in range(frames):
        tell(f" frame {index + 1} of {frames}")
        masks[..., index] = predictor.predict(cine.frame(index)).mask
        curves.append(structure_volumes_ml(masks[..., index], cine.spacing_mm))
    path = output / f"{image.name}_seg.nii.gz"
    write_label(path, masks, cine.affine)
    result.files.append(path)
    lv_ml = [volumes_ml[AcdcLabel.LV] for volumes_ml in curves]
    rv_ml = [volumes_ml[AcdcLabel.RV] for volumes_ml in curves]
    try:
        index_ed, index_es = find_ed_es(lv_ml)
    except DataError as error:
        result.reason = str(error)
        _check_and_draw(cine.frame(0), masks[..., 0], output / f"{image.name}_overlay.png", None, result)
        return
    path = output / f"{image.name}_curve.png"
    curve_figure(range(1, frames + 1), lv_ml, rv_ml, index_ed, index_es, path)
    result.files.append(path)
    for phase, index in ((Phase.ED, index_ed), (Phase.ES, index_es)):
        _set_frame(result, phase, index + 1)
        path = output / f"{image.name}_{phase}_overlay.png"
        _check_and_draw(cine.frame(index), masks[..., index], path, phase, result)
    _set_indices(result, curves[index_ed], curves[index_es])


def _check_and_draw(volume: Volume, mask: Mask, path: Path, phase: Phase | None, result: StudyResult) -> None:
    image, _ = slices_last(volume)
    label, _ = slices_last(Volume(mask, volume.affine, volume.spacing_mm))
    prefix = f"{phase}: " if phase else ""
    result.warnings += [prefix + warning for warning in check_mask(label.array, label.spacing_mm)]
    title = f"{result.patient} {phase or ''}".strip()
    overlay_figure(image.array, label.array, path, title=title, spacing_mm=image.spacing_mm)
    result.files.append(path)


def _set_frame(result: StudyResult, phase: Phase, frame: int | None) -> None:
    if phase is Phase.ED:
        result.frame_ed = frame
    else:
        result.frame_es = frame


def _set_indices(
    result: StudyResult, ed_ml: Mapping[AcdcLabel, float] | None, es_ml: Mapping[AcdcLabel, float] | None
) -> None:
    result.indices = indices_from_volumes(ed_ml, es_ml)
    result.reason = result.indices.reason
    result.warnings += check_indices(result.indices)


def _teller(progress: Progress | None, done: int, total: int, name: str) -> Callable[[str], None]:
    return lambda detail: progress(done, total, name + detail) if progress else None


def _write_tables(report: SegmentReport) -> None:
    columns = tuple(StudyResult("", "").as_row())
    write_csv(report.output / "indices.csv", columns, [result.as_row() for result in report.results])
    problems = [asdict(problem) for problem in report.problems]
    write_csv(report.output / "problems.csv", ("patient", "path", "reason"), problems)
