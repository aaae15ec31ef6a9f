"""Segmentation of studies: label maps, indices, overlays and curves."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import numpy.typing as npt

from pipelines.core.cardiac import (
    HALF_WIDTH,
    CardiacFigures,
    CardiacIndices,
    Normal,
    PatientFacts,
    Rates,
    RateSource,
    SurfaceFormula,
    cardiac_figures,
    compare_with_normal,
    find_ed_es,
    half_widths,
    indices_from_volumes,
    measure_rates,
    structure_volumes_ml,
)
from pipelines.core.errors import ConfigError, DataError, OutputError
from pipelines.core.files import output_folder, write_csv
from pipelines.core.plausibility import check_ends, check_indices, check_mask
from pipelines.core.progress import progress_of, show_progress
from pipelines.core.records import AcdcLabel, Phase, Problem
from pipelines.core.volume import Volume, read_values, slices_last, write_label
from pipelines.core.wall import SEGMENTS, Strain, Wall, find_rings, measure_strain, measure_wall
from pipelines.datasets.duplicates import check_coverage
from pipelines.evaluation.segmentation import MEAN, STRUCTURES
from pipelines.figures.overlay import curve_figure, overlay_figure
from pipelines.figures.study import draw_study
from pipelines.inference.inputs import Study, StudyImage, find_studies

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class StudyResult:
    """What was measured in one study.

    Attributes:
        study: Name of the study, which its files begin with.
        patient: Identifier as the source gives it: of a file its own name, in any script.
        indices: Volumes, ejection fractions and mass; None where not known.
        volumes_ml: Volumes in mL of a single volume of unknown phase, else empty.
        frame_ed: Frame of ED in the cine, 1-based, or None.
        frame_es: Frame of ES in the cine, 1-based, or None.
        reason: Why an index is None, `""` if none is.
        warnings: Plausibility warnings in plain words.
        files: Files written, label maps first.
        path: File or folder that was read, None if it is not known.
        quality: Predicted Dice of each structure and their `mean`, of the worse volume; empty if not judged.
        facts: What is known of the patient.
        rate_source: Where the heart rate comes from, and with it cardiac output; None if it is not known.
        figures: Indices by body surface and by minute.
        rates: Rates of the LV of a cine with a known time between frames, else None.
        stack: Slices, their distance and size of a pixel in mm, and frames; empty if no phase is known.
        curves_ml: LV and RV volume of each frame of a cine, else empty.
        strain_curve: Strain of each frame of a cine against ED, where a page was asked for; else empty.
        wall: Thickness, thickening, motion and strain of the LV's wall.
        normal: Normal ranges by the names of `values`, for those that have one.
        half_widths: Half of the interval of values that have one; empty for contours of a person.
        normal_reason: Why there are no normal ranges, `""` if there are.
        pictures: Pictures for a page by their kind; empty unless they were asked for.
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
    path: Path | None = None
    quality: Mapping[str, float] = field(default_factory=dict)
    facts: PatientFacts = field(default_factory=PatientFacts)
    rate_source: RateSource | None = None
    figures: CardiacFigures = field(default_factory=CardiacFigures)
    rates: Rates | None = None
    stack: tuple[int, float, float, int] | tuple[()] = ()
    curves_ml: Mapping[AcdcLabel, Sequence[float]] = field(default_factory=dict)
    strain_curve: Sequence[Strain] = ()
    wall: Wall = field(default_factory=Wall)
    normal: Mapping[str, Normal] = field(default_factory=dict)
    normal_reason: str = ""
    half_widths: Mapping[str, float] = field(default_factory=dict)
    pictures: dict[str, Path] = field(default_factory=dict)

    def values(self) -> dict[str, float | None]:
        """Figures of the whole heart by names that end in their unit; None for what is not known."""
        indices = asdict(self.indices)
        del indices["reason"]
        return {
            **indices,
            **asdict(self.figures),
            **{f"lv_{one.name}": getattr(self.rates, one.name, None) for one in fields(Rates)},
            "wall_mean_ed_mm": self.wall.mean_ed_mm,
            "wall_mean_es_mm": self.wall.mean_es_mm,
            "wall_max_ed_mm": self.wall.max_ed_mm,
            **{f"strain_{name}": value for name, value in asdict(self.wall.strain).items()},
        }

    def segments(self) -> dict[str, float | None]:
        """Figures of the 16 AHA segments, e.g. `wall_ed_mm_01`; None for what is not known."""
        columns = {
            "wall_ed_mm": self.wall.ed_mm,
            "wall_es_mm": self.wall.es_mm,
            "thickening_percent": self.wall.thickening_percent,
            "wall_motion_mm": self.wall.motion_mm,
        }
        return {f"{name}_{n + 1:02d}": found[n] for name, found in columns.items() for n in range(SEGMENTS)}

    def as_row(self) -> dict[str, Any]:
        """The result as a row of `indices.csv`; what is not known is None."""
        outside = [
            f"{name} (z {one.z:+.1f})" if one.z is not None else f"{name} ({one.low:g} to {one.high:g})"
            for name, one in self.normal.items()
            if one.is_outside
        ]
        row: dict[str, Any] = {
            "patient": self.patient,
            "study": self.study,
            "path": None if self.path is None else str(self.path),
            **self.values(),
            **{f"{name}_plus_minus": self.half_widths.get(name) for name in HALF_WIDTH},
            "heart_rate_source": self.rate_source and str(self.rate_source),
            "frame_ed": self.frame_ed,
            "frame_es": self.frame_es,
            **{
                f"{label.name.lower()}_ml_unknown_phase": self.volumes_ml.get(label)
                for label in (AcdcLabel.LV, AcdcLabel.RV, AcdcLabel.MYO)
            },
            **{f"{DICE_PREFIX}{name}": self.quality.get(name) for name in (*STRUCTURES, MEAN)},
            **self.segments(),
            "outside_normal": "; ".join(outside),
            "normal_reason": self.normal_reason,
            "wall_reason": self.wall.reason,
            "reason": self.reason,
            "warnings": "; ".join(self.warnings),
        }
        return {
            name: round(value, 3 if name.startswith(DICE_PREFIX) else 2)
            if isinstance(value, float)
            else value
            for name, value in row.items()
        }


DICE_PREFIX: Final = "predicted_dice_"
"""Columns of `indices.csv` that have a third decimal place."""


@dataclass(frozen=True, slots=True)
class SegmentReport:
    """Outcome of a run.

    Attributes:
        output: Folder with the results.
        results: One result for each study that was segmented.
        problems: What was skipped, and why.
        passed_over: Files that are no images: label maps, and formats that are not read.
    """

    output: Path
    results: list[StudyResult]
    problems: list[Problem]
    passed_over: list[Problem] = field(default_factory=list)


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


class KeptMasks:
    """Label maps that are there already, in place of a network: each call gives the next frame's.

    Args:
        paths: Label maps `(X, Y, Z)` or `(X, Y, Z, T)` of the images of one study, in their order.
    """

    def __init__(self, paths: Sequence[Path]) -> None:
        self._frames = (frame for path in paths for frame in _frames_of(path))

    def predict(self, volume: Volume, /) -> "_Kept":
        """The label map of the next frame.

        Raises:
            DataError: If there is none, or it is not on the volume's grid.
        """
        mask = next(self._frames, None)
        if mask is None or mask.shape != volume.array.shape:
            found = "none" if mask is None else f"one of {mask.shape}"
            raise DataError(f"expected a label map of {volume.array.shape} for {volume.path}, found {found}")
        return _Kept(mask)


@dataclass(frozen=True, slots=True)
class _Kept:
    mask: Mask


def _frames_of(path: Path) -> Iterator[Mask]:
    array = read_values(path).array.astype(np.uint8)
    yield from (array,) if array.ndim == 3 else np.moveaxis(array, 3, 0)


class MaskQualityEstimator(Protocol):
    """Anything that predicts how good a mask is, e.g. `pipelines.quality.model.QualityEstimator`."""

    def estimate(self, volume: Volume, prediction: Any, /) -> dict[str, float]:
        """Predicted Dice of `rv`, `myo` and `lv`, and their `mean`."""

    def warning(self, quality: dict[str, float], /) -> str | None:
        """A sentence for a low score, None if it is not low."""


POSSIBLE_BEAT_S: Final = (0.3, 2.5)
"""Length of a heart beat, 24 to 200 a minute: a header with another has no true time between frames."""


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """What is wanted of studies, and known of their patient from elsewhere.

    Attributes:
        facts: What is known of the patient; counts before what the files tell.
        surface: Formula of the body surface.
        page: Whether pictures for a page are drawn.
        is_automatic: Whether a network draws the contours, so that intervals measured on networks hold.
    """

    facts: PatientFacts = field(default_factory=PatientFacts)
    surface: SurfaceFormula = "mosteller"
    page: bool = False
    is_automatic: bool = True


DEFAULT_OPTIONS: Final = StudyOptions()


@dataclass(frozen=True, slots=True)
class Tools:
    """What studies are segmented with.

    Attributes:
        predictor: Segments one volume.
        estimator: Predicts how good a mask is; of a cine those of ED and ES are judged.
        pictures: Whether overlays and curves are drawn, which takes longer than a small network.
        options: What is wanted, and known from elsewhere.
    """

    predictor: MaskPredictor
    estimator: MaskQualityEstimator | None = None
    pictures: bool = True
    options: StudyOptions = DEFAULT_OPTIONS


def segment(
    inputs: Sequence[Path],
    output: Path,
    predictor: MaskPredictor,
    *,
    estimator: MaskQualityEstimator | None = None,
    options: StudyOptions = DEFAULT_OPTIONS,
) -> SegmentReport:
    """Label maps, `indices.csv`, overlays and curves for all studies found.

    For an image `NAME` the folder gets `NAME_seg.nii.gz` on the image's own grid,
    `NAME_overlay.png` (for a cine one for ED and one for ES) and, for a cine,
    `NAME_curve.png`. `indices.csv` has a row for each study and is brought up to
    date after each; `problems.csv` lists what was skipped or passed over. A cine is
    segmented frame by frame, and only its label maps are kept.

    Args:
        inputs: Existing NIfTI files, DICOM series or folders of them.
        output: Folder for the results, made if it does not exist.
        predictor: Segments one volume.
        estimator: Predicts how good a mask is; of a cine those of ED and ES are judged.
        options: What is wanted, and known from elsewhere.

    Returns:
        Results and problems. A volume of unknown phase has volumes only.

    Raises:
        ConfigError: If facts of one patient are given with several studies.
        DataError: If nothing was found, or no study could be segmented.
        OutputError: If a result cannot be written.
    """
    found = find_studies(inputs)
    studies = found.studies
    if options.facts != PatientFacts() and len(studies) > 1:
        raise ConfigError(
            "expected one study where height, weight, sex, age or heart rate are given, found "
            f"{len(studies)}; segment each patient by itself"
        )
    output_folder(output)
    report = SegmentReport(output, [], found.problems, found.passed_over)
    _write_tables(report)
    for number, study in enumerate(studies):
        show_progress(number, len(studies), study.name)
        try:
            with progress_of(f"{study.name} ", (number, len(studies))):
                result, faults = segment_study(study, output, Tools(predictor, estimator, options=options))
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
            report.problems.extend(faults)
        _write_tables(report)
        show_progress(number + 1, len(studies), study.name)
    if not report.results:
        reasons = "; ".join(f"{problem.path}: {problem.reason}" for problem in report.problems[:3])
        raise DataError(f"expected at least one image that can be segmented, found {reasons}")
    return report


def segment_study(study: Study, output: Path, tools: Tools) -> tuple[StudyResult, list[Problem]]:
    """Label maps of one study, and pictures if they are wanted, with what was measured.

    Args:
        study: Its images are read here.
        output: Existing folder for the label maps.
        tools: What it is segmented with.

    Returns:
        The result, and the images of the study that could not be used.

    Raises:
        DataError: If none of its images can be used.
        OutputError: If a result cannot be written.
    """
    path = study.images[0].path
    result = StudyResult(study.name, study.patient, path=path if len(study.images) == 1 else path.parent)
    given = tools.options.facts
    try:
        known = given.or_else(study.read_facts())
    except DataError as error:
        result.warnings.append(str(error))
        known = given
    result.facts, doubts = known.checked()
    result.warnings += doubts
    if result.facts.heart_rate_bpm is not None:
        is_given = given.heart_rate_bpm is not None
        result.rate_source = RateSource.OPTION if is_given else RateSource.HEADER
    frames: dict[Phase, _Frame] = {}
    faults: list[Problem] = []
    for image in study.images:
        try:
            volume = image.load()
            warnings = (*volume.warnings, *check_coverage(volume))
            # Of ED and ES, each read from a file of the same scan, the same is not told twice.
            result.warnings += [warning for warning in warnings if warning not in result.warnings]
            if image.phase is None and volume.array.ndim == 4:
                _segment_cine(image, volume, output, tools, result)
                continue
            frame = _segment_volume(image, volume, output, tools, result)
        except DataError as error:
            faults.append(Problem(study.patient, image.path, str(error)))
            continue
        if image.phase is None:
            result.volumes_ml = frame.volumes_ml
            result.reason = "one volume of unknown phase, EF needs ED and ES"
        else:
            frames[image.phase] = frame
            if image.phase is Phase.ED:
                result.frame_ed = image.frame
            else:
                result.frame_es = image.frame
    if len(faults) == len(study.images):
        raise DataError("; ".join(fault.reason for fault in faults))
    if frames:
        _set_figures(result, frames.get(Phase.ED), frames.get(Phase.ES), output, tools)
    return result, faults


@dataclass(frozen=True, slots=True)
class _Frame:
    """Image and label map of one frame, its volumes in mL, and the prediction that the label map is of."""

    image: Volume
    label: Volume
    volumes_ml: Mapping[AcdcLabel, float]
    prediction: MaskPrediction


def _segment_frame(volume: Volume, predictor: MaskPredictor) -> _Frame:
    found = predictor.predict(volume)
    volumes_ml = structure_volumes_ml(found.mask, volume.spacing_mm)
    return _Frame(volume, replace(volume, array=found.mask), volumes_ml, found)


def _segment_volume(
    image: StudyImage, volume: Volume, output: Path, tools: Tools, result: StudyResult
) -> _Frame:
    if volume.array.ndim != 3:
        raise DataError(
            f"expected one 3-D frame for {image.phase}, found shape {volume.array.shape} in {image.path}"
        )
    frame = _segment_frame(volume, tools.predictor)
    path = output / f"{image.name}_seg.nii.gz"
    write_label(path, frame.label.array, volume.affine)
    result.files.append(path)
    _check_and_draw(frame, output / f"{image.name}_overlay.png", image.phase, tools, result)
    return frame


def _segment_cine(image: StudyImage, cine: Volume, output: Path, tools: Tools, result: StudyResult) -> None:
    count = cine.array.shape[3]
    frames = []
    for index in range(count):
        show_progress(index, count, f"frame {index + 1} of {count}")
        frames.append(_segment_frame(cine.frame(index), tools.predictor))
    path = output / f"{image.name}_seg.nii.gz"
    write_label(path, np.stack([frame.label.array for frame in frames], axis=-1), cine.affine)
    result.files.append(path)
    lv_ml, rv_ml = ([one.volumes_ml[label] for one in frames] for label in (AcdcLabel.LV, AcdcLabel.RV))
    result.curves_ml = {AcdcLabel.LV: lv_ml, AcdcLabel.RV: rv_ml}
    try:
        index_ed, index_es = find_ed_es(lv_ml)
    except DataError as error:
        result.reason = str(error)
        _check_and_draw(frames[0], output / f"{image.name}_overlay.png", None, tools, result)
        return
    if tools.pictures:
        path = output / f"{image.name}_curve.png"
        curve_figure(range(1, count + 1), lv_ml, rv_ml, index_ed, index_es, path)
        result.files.append(path)
        result.pictures["curve"] = path
    result.frame_ed, result.frame_es = index_ed + 1, index_es + 1
    for phase, index in ((Phase.ED, index_ed), (Phase.ES, index_es)):
        _check_and_draw(frames[index], output / f"{image.name}_{phase}_overlay.png", phase, tools, result)
    if cine.frame_s and POSSIBLE_BEAT_S[0] <= count * cine.frame_s <= POSSIBLE_BEAT_S[1]:
        result.rates = measure_rates(lv_ml, cine.frame_s, index_ed, index_es)
        if result.rate_source is None:
            result.facts = replace(result.facts, heart_rate_bpm=60 / (count * cine.frame_s))
            result.rate_source = RateSource.CINE
    _set_figures(result, frames[index_ed], frames[index_es], output, tools, frames)


def _check_and_draw(
    frame: _Frame, path: Path, phase: Phase | None, tools: Tools, result: StudyResult
) -> None:
    image, _ = slices_last(frame.image)
    label, _ = slices_last(frame.label)
    prefix = f"{phase}: " if phase else ""
    warnings = [*check_mask(label.array, label.spacing_mm), *check_ends(label.array)]
    result.warnings += [prefix + warning for warning in warnings]
    if tools.estimator is not None:
        quality = tools.estimator.estimate(frame.image, frame.prediction)
        if not result.quality or quality[MEAN] < result.quality[MEAN]:
            result.quality = quality
        if warning := tools.estimator.warning(quality):
            result.warnings.append(prefix + warning)
    if not tools.pictures:
        return
    title = f"{result.patient} {phase or ''}".strip()
    overlay_figure(image.array, label.array, path, title=title, spacing_mm=image.spacing_mm)
    result.files.append(path)


def _set_figures(
    result: StudyResult,
    ed: _Frame | None,
    es: _Frame | None,
    output: Path,
    tools: Tools,
    cine: Sequence[_Frame] = (),
) -> None:
    """Indices and all that follows from them, of what phases there are."""
    result.indices = indices_from_volumes(ed.volumes_ml if ed else None, es.volumes_ml if es else None)
    result.reason = result.indices.reason
    result.warnings = [*check_indices(result.indices), *result.warnings]  # a page shows the first ones
    result.figures = cardiac_figures(result.indices, result.facts, tools.options.surface)
    result.normal, result.normal_reason = compare_with_normal(result.values(), result.facts)
    known = [one for one in (ed, es) if one is not None]
    first, _ = slices_last(known[0].image)
    result.stack = (first.array.shape[2], first.spacing_mm[2], first.spacing_mm[0], len(cine) or len(known))
    if ed is not None and es is not None:
        rings = find_rings(ed.label)
        result.wall = measure_wall(rings, find_rings(es.label))
    if tools.options.is_automatic:
        result.half_widths = half_widths(result.values(), result.figures)
    if tools.options.page and ed is not None and es is not None:
        result.strain_curve = [measure_strain(rings, find_rings(one.label)) for one in cine]
        result.pictures |= draw_study(
            output / result.study,
            (ed.image, ed.label),
            (es.image, es.label),
            result.wall,
            result.normal,
            [(one.image, one.label) for one in cine],
            result.strain_curve,
        )


def _write_tables(report: SegmentReport) -> None:
    columns = tuple(StudyResult("", "").as_row())
    write_csv(report.output / "indices.csv", columns, [result.as_row() for result in report.results])
    problems = [asdict(problem) for problem in (*report.problems, *report.passed_over)]
    write_csv(report.output / "problems.csv", ("patient", "path", "reason"), problems)
