"""What is done with a study that has arrived: the networks of the bundles, inside of the worker."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel as nib
import numpy as np

from pipelines.core.errors import DataError
from pipelines.core.records import Phase
from pipelines.datasets.dicom import order_series
from pipelines.datasets.xray_image import read_xray
from pipelines.inference.dicom_objects import load_highdicom, write_dicom_pdf, write_dicom_seg, write_dicom_sr
from pipelines.inference.inputs import Study, StudyKind, find_studies
from pipelines.inference.segment import StudyResult
from pipelines.watching.ledger import printable
from pipelines.watching.units import Kind
from pipelines.watching.worker import Job

if TYPE_CHECKING:
    from pipelines.inference.segment import Tools
    from pipelines.models.engines import Engine
    from pipelines.models.xray import Classifier


@dataclass(frozen=True)
class StudyProcessor:
    """Segments hearts and classifies radiographs; each network is loaded when it is first needed.

    Attributes:
        network: Network of the ACDC bundle.
        weights: File used instead of the bundle's own, or None.
        xray_network: Network of the chest X-ray bundle.
        xray_weights: File used instead of the bundle's own, or None.
        quality: Estimate the quality of masks by a second network too.
        seg: Write DICOM segmentations of DICOM series.
        pages: Writes the page of a heart as HTML and PDF into a folder, None for none; it can be pickled.
        translate: Gives the texts of a heart's pictures in the language of its page; it can be pickled.
        fhir: Writes the measures of a heart for other programs into a folder, likewise.
        engine: What runs the network for hearts.
        device: `"auto"` or a torch device.
    """

    network: str = "unet"
    weights: Path | None = None
    xray_network: str = "efficientnet_lite0"
    xray_weights: Path | None = None
    quality: bool = False
    seg: bool = False
    pages: Callable[[StudyResult, Path], list[Path]] | None = None
    translate: Callable[[str], str] = str
    fhir: Callable[[StudyResult, Path], Path] | None = None
    engine: "Engine" = "pytorch"
    device: str = "auto"

    def __call__(self, job: Job) -> dict[str, Any]:
        """Write the results of a study; what `result.json` says of them.

        Raises:
            ConfigError: If weights are missing or do not fit.
            DataError: If the input cannot be used.
            OutputError: If a result cannot be written.
        """
        return self._heart(job) if job.kind is Kind.HEART else self._xray(job)

    def _heart(self, job: Job) -> dict[str, Any]:
        from pipelines.figures.overlay import texts_by
        from pipelines.inference.segment import segment_study

        if self.seg:
            load_highdicom()  # before the work, not after it
        found = find_studies(job.files)
        studies, problems = found.studies, found.problems
        if len(studies) != 1:
            raise DataError(
                f"expected the files of one study, found {len(studies)} in {job.files[0].parent}; "
                "give each its own folder"
            )
        (study,) = studies
        tools = self._tools
        with texts_by(self.translate):
            result, faults = segment_study(study, job.folder, tools)
        if self.seg and study.kind is StudyKind.DICOM:
            self._write_dicom(study, result, job.folder)
        if self.pages is not None:
            _, pdf = self.pages(result, job.folder)
            if self.seg and study.kind is StudyKind.DICOM:
                write_dicom_pdf(pdf, study.images[0].files[0], pdf.with_suffix(".dcm"))
        if self.fhir is not None:
            try:
                self.fhir(result, job.folder)
            except DataError as error:
                result.warnings.append(f"no FHIR report: {error}")
        result.warnings += [f"skipped {one.path}: {one.reason}" for one in (*problems, *faults)]
        model = {
            "network": self.network,
            "weights": self.weights and str(self.weights),
            "engine": self.engine,
        }
        return {
            "patient": result.patient,
            "indices": _rounded(result.values(), 2),
            "plus_minus": _rounded(result.half_widths, 2),
            "heart_rate_source": result.rate_source and str(result.rate_source),
            "volumes_ml": _rounded({label.name.lower(): ml for label, ml in result.volumes_ml.items()}, 2),
            "frame_ed": result.frame_ed,
            "frame_es": result.frame_es,
            "reason": result.reason,
            "predicted_dice": _rounded(result.quality, 3),
            "warnings": result.warnings,
            "model": model,
        }

    def _write_dicom(self, study: Study, result: StudyResult, folder: Path) -> None:
        """One DICOM SEG of a volume, or one each of the cine's ED and ES, and a report on these."""
        (image,) = study.images
        try:
            slices, _ = order_series(image.files)
        except DataError as error:
            result.warnings.append(f"no DICOM SEG and SR: {error}")
            return

        def keep(what: str, path: Path, write: Callable[[], object]) -> None:
            try:
                write()
            except DataError as error:
                result.warnings.append(f"no DICOM {what}: {error}")
            else:
                result.files.append(path)

        mask = np.asarray(nib.load(folder / f"{image.name}_seg.nii.gz").dataobj, dtype=np.uint8)
        chosen: dict[str, tuple[int, Any]] = {"": (0, mask)} if mask.ndim == 3 else {}
        if mask.ndim == 4:
            frames = {Phase.ED: result.frame_ed, Phase.ES: result.frame_es}
            chosen = {
                str(phase): (frame - 1, mask[..., frame - 1]) for phase, frame in frames.items() if frame
            }
        for number, (phase, (index, one)) in enumerate(chosen.items(), start=1):
            path = folder / "_".join(filter(None, (image.name, phase, "seg.dcm")))
            files = [group[index] for group in slices]
            settings: dict[str, Any] = {"number": number, "title": phase, "algorithm": self.network}
            keep("SEG", path, partial(write_dicom_seg, one, files, path, **settings))
        if result.frame_ed is None or result.frame_es is None:
            return
        path = folder / f"{image.name}_sr.dcm"
        files = [group[frame - 1] for frame in (result.frame_ed, result.frame_es) for group in slices]
        keep("SR", path, partial(write_dicom_sr, result, files, path, algorithm=self.network))

    def _xray(self, job: Job) -> dict[str, Any]:
        from pipelines.explanation.explain import heat_map, overlay_heat_map
        from pipelines.inference.classify import classify_one, title_of

        (path,) = job.files
        image = read_xray(path)
        name = Path(printable(path.name))
        result = classify_one(name, image, self._classifier)
        if result.decision is not None:
            overlay = job.folder / f"{name.stem}_overlay.png"
            found = heat_map(image.pixels, classifier=self._classifier)
            overlay_heat_map(image.pixels, found, overlay, title=title_of(result, self._classifier))
        return {
            "probability_pneumonia": round(result.probability, 4),
            "threshold": round(self._classifier.threshold, 4),
            "decision": result.decision,
            "warnings": list(result.warnings),
            "model": {"network": self.xray_network, "weights": self.xray_weights and str(self.xray_weights)},
        }

    @cached_property
    def _tools(self) -> "Tools":
        from pipelines.inference.segment import StudyOptions, Tools
        from pipelines.models.heart import Predictor
        from pipelines.quality.model import QualityEstimator

        chosen: dict[str, Any] = {"weights": self.weights, "device": self.device}
        predictor = Predictor.load(self.network, engine=self.engine, **chosen)
        estimator = QualityEstimator.load(self.network, thorough=self.quality, **chosen)
        return Tools(predictor, estimator, options=StudyOptions(page=self.pages is not None))

    @cached_property
    def _classifier(self) -> "Classifier":
        from pipelines.models.xray import Classifier

        return Classifier.load(self.xray_network, weights=self.xray_weights, device=self.device)


def _rounded(values: Mapping[str, float | None], digits: int) -> dict[str, float | None]:
    return {name: None if value is None else round(value, digits) for name, value in values.items()}
