"""Evaluation of a network by its name, and comparison of models on the same patients."""

import hashlib
import re
import statistics
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

import numpy as np
from scipy.stats import kruskal, spearmanr

from pipelines.core.errors import ConfigError, DataError
from pipelines.core.files import (
    MANIFEST_NAME,
    exclusive_lock,
    file_sha256,
    output_folder,
    read_json,
    write_csv,
    write_json,
    write_manifest,
)
from pipelines.core.progress import progress_of
from pipelines.core.records import FOREGROUND, LABEL_NAMES, PatientRecord
from pipelines.core.tasks import task_of
from pipelines.core.volume import read_volume
from pipelines.datasets.prepare import Section, patient_records, read_datalist, select
from pipelines.evaluation.memory import cost_of_predicting
from pipelines.evaluation.segmentation import (
    INDEX_FIELDS,
    METRIC_NAMES,
    Case,
    patient_indices,
    read_cases,
    summarise,
)
from pipelines.evaluation.segmentation import (
    evaluate as evaluate_volumes,
)
from pipelines.evaluation.statistics import (
    RESAMPLES,
    FloatArray,
    bootstrap_weights,
    holm,
    paired_difference,
    rank_stability,
)
from pipelines.models.bundle import ACDC_BUNDLE, NETWORKS, device_settings, load_config
from pipelines.models.heart import Member, Predictor
from pipelines.models.weights import BEST_NAME


def evaluate(
    network: str,
    root: Path,
    output: Path,
    *,
    weights: Path | None = None,
    section: Section = "test",
    fold: int = 0,
    device: str = "auto",
) -> dict[str, Any]:
    """Measure a network on labelled images; the content of `metrics.json`.

    Args:
        network: A network of one of the bundles.
        root: Folder of `thorax prepare`, or a labelled folder in the task's own layout.
        output: Folder for `metrics.json`, `metrics.csv` and pictures; made if it does not exist.
        weights: Existing file to use instead of the bundle's own.
        section: Part of a prepared folder that is measured.
        fold: Fold that validation stands for.
        device: `"auto"`, or a torch device such as `"cpu"` or `"cuda:0"`.

    Returns:
        For hearts as from `pipelines.evaluation.segmentation`, for radiographs as from
        `pipelines.evaluation.classification`.

    Raises:
        ConfigError: If the network or the fold is unknown, or weights are missing or do not fit.
        DataError: If there is nothing that can be evaluated.
        OutputError: If the results cannot be written.
    """
    task = task_of(network)
    records = task.find("records")(root, section, fold)
    model = task.find("model").load(network, weights=weights, device=device)
    metrics: dict[str, Any] = task.find("evaluate")(root, output, model, records=records)
    return metrics


METRICS_NAME: Final = "metrics.json"
LOCK_NAME: Final = "running"


@dataclass(frozen=True, slots=True)
class Model:
    """A network or the mean of several, as `NAME=NETWORK[:WEIGHTS][+...]` says.

    Attributes:
        name: What tables call it, and its folder.
        parts: Network and weights of each member; None stands for the bundle's own weights.
    """

    name: str
    parts: tuple[tuple[str, Path | None], ...]

    @classmethod
    def parse(cls, text: str) -> "Model":
        """Model from a text such as `mean=unet:runs/unet/best.pt+vnet`.

        Weights are a file, or a run with `best.pt`; weights without a network are of the default one.

        Raises:
            ConfigError: If the text has another form, a network is unknown, or weights are missing.
        """
        name, sign, rest = text.partition("=")
        parts = rest.split("+")
        if not sign or not re.fullmatch(r"\w[\w .-]*", name):
            raise ConfigError(
                f"expected a model such as both=unet:runs/unet/best.pt+vnet, found {text!r}; "
                "a name has letters, digits, spaces, '_', '-' and '.'"
            )
        members = []
        for part in parts:
            network, _, weights = part.partition(":")
            if part and network not in NETWORKS and Path(part).exists():
                network, weights = NETWORKS[0], part
            if network not in NETWORKS:
                raise ConfigError(
                    f"expected a network among {', '.join(NETWORKS)} in {text!r}, found {network!r}"
                )
            path = Path(weights) / BEST_NAME if Path(weights).is_dir() else Path(weights)
            if weights and not path.is_file():
                raise ConfigError(f"expected weights at {path}, found none; train them or name another file")
            members.append((network, path if weights else None))
        return cls(name, tuple(members))

    @property
    def text(self) -> str:
        """The form that `parse` reads."""
        parts = [f"{network}:{weights}" if weights else network for network, weights in self.parts]
        return f"{self.name}={'+'.join(parts)}"

    def predictor(self, *, device: str = "auto") -> Predictor:
        """The model, ready to segment; members of one network are told apart by their number.

        Raises:
            ConfigError: If weights do not fit.
        """
        settings = device_settings(device, "auto")
        members = {
            f"{network}_{number}": Member.load(network, bundle=ACDC_BUNDLE, weights=weights, **settings)
            for number, (network, weights) in enumerate(self.parts)
        }
        return Predictor(members)

    def description(self) -> dict[str, Any]:
        """What the model is: `networks`, `parameters` of all members, and hashes of `weights`."""
        return described_parts(self.parts)


def predict_twice(model: str, image: str, device: str) -> dict[str, float]:
    """Segment an image twice; `cpu_seconds` is the processor time of the second prediction in s."""
    predictor, volume = Model.parse(model).predictor(device=device), read_volume(Path(image))
    predictor.predict(volume)
    start = time.process_time()
    predictor.predict(volume)
    return {"cpu_seconds": time.process_time() - start}


def described_weights(networks: Sequence[str], weights: Path | None, bundle: Path) -> dict[str, Any]:
    """What a manifest records of the networks that an evaluation measures.

    Args:
        networks: Networks of a bundle.
        weights: File given for them; the bundle's own without it.
        bundle: Root folder of the bundle.

    Returns:
        `networks`, `parameters` of all of them, hashes of `weights`, and `bundle_weights`.
    """
    parts = [(name, weights) for name in networks]
    return described_parts(parts, bundle) | {"bundle_weights": weights is None}


def described_parts(parts: Sequence[tuple[str, Path | None]], bundle: Path = ACDC_BUNDLE) -> dict[str, Any]:
    """`networks`, `parameters` of all of them, and hashes of `weights`, the bundle's own where None."""
    paths = [
        weights or Path(load_config(network, bundle=bundle).get_parsed_content("weights"))
        for network, weights in parts
    ]
    return {
        "networks": [network for network, _ in parts],
        "parameters": sum(parameters_of(network, bundle) for network, _ in parts),
        "weights": [file_sha256(path)[:16] for path in paths],
    }


def parameters_of(network: str, bundle: Path = ACDC_BUNDLE) -> int:
    """Number of weights of a network of a bundle, heads of deep supervision included."""
    module = load_config(network, bundle=bundle).get_parsed_content("network_def")
    return sum(weight.numel() for weight in module.parameters())


def evaluate_models(
    models: Sequence[Model],
    records: Sequence[PatientRecord],
    output: Path,
    *,
    root: Path,
    device: str = "auto",
) -> dict[str, Path]:
    """Measure models that were not measured yet, each into a folder of its name.

    Beside what `thorax evaluate` writes, the manifest of each has what the model is and what
    predicting the largest of the images costs, measured in a process of its own.

    Args:
        models: Of different names.
        records: Labelled patients to measure them on.
        output: Folder for the folders; made if it does not exist.
        root: Folder that the records come from, for messages.
        device: `"auto"`, or a torch device.

    Returns:
        Folder of each model by its name.

    Raises:
        ConfigError: If two models have one name, or a folder holds another model or other patients.
        DataError: If nothing can be evaluated.
        OutputError: If results cannot be written.
    """
    names = [model.name for model in models]
    if len(set(names)) != len(names):
        raise ConfigError(f"expected models of different names, found {names}")
    volumes = [volume for record in records for volume in record.volumes if volume.label is not None]
    largest = max((volume.image for volume in volumes), key=lambda path: path.stat().st_size, default=None)
    patients = hashlib.sha256(
        " ".join(f"{volume.patient}_{volume.phase}" for volume in volumes).encode()
    ).hexdigest()[:16]
    folders = {model.name: output / model.name for model in models}
    for model in models:
        folder = output_folder(folders[model.name])
        with exclusive_lock(folder / LOCK_NAME, f"evaluation of {model.name}"):
            described = model.description() | {"volumes_hash": patients}
            if _is_there(folder, described):
                continue
            predictor = model.predictor(device=device)
            with progress_of(f"{model.name}: "):
                evaluate_volumes(root, folder, predictor, records=records, seen=predictor.seen)
            cost = cost_of_predicting(model.text, largest, device) if largest else {}
            outputs = [METRICS_NAME, "metrics.csv", "overlays"]
            own = all(weights is None for _, weights in model.parts)
            write_manifest(folder, **described, bundle_weights=own, model=model.text, **cost, outputs=outputs)
    return folders


def read_evaluation(folder: Path) -> tuple[list[Case], dict[str, Any]]:
    """Cases of an evaluation, and what its model costs.

    Args:
        folder: Of `thorax evaluate`, `thorax compare` or `thorax cross-validate`.

    Returns:
        The cases, and `parameters`, `seconds_per_volume`, `threads`, `cpu_seconds` and `peak_mb`, as far
        as the manifest tells.

    Raises:
        DataError: If there are no cases.
    """
    metrics, crossed = folder / METRICS_NAME, folder / "cross_validation.json"
    cases = read_cases(crossed if crossed.is_file() and not metrics.is_file() else metrics)
    path = folder / MANIFEST_NAME
    known = read_json(path) if path.is_file() else {}
    networks = known.get("networks") or [name for name in [known.get("network")] if name]
    counted = sum(map(parameters_of, networks)) if networks else None
    cost = {"parameters": counted} | {
        name: known[name] for name in ("parameters", "threads", "cpu_seconds", "peak_mb") if name in known
    }
    return cases, cost | {"seconds_per_volume": statistics.median(case.seconds for case in cases)}


def _is_there(folder: Path, described: dict[str, Any]) -> bool:
    """Whether the model was measured; its manifest is written last."""
    path = folder / MANIFEST_NAME
    if not path.is_file():
        return False
    found = read_json(path)
    other = [name for name, value in described.items() if found.get(name) != value]
    if other:
        raise ConfigError(
            f"expected the same model on the same patients in {folder}, found other {', '.join(other)}; "
            "give the model another name, or choose another folder by --output"
        )
    return True


FEWEST_TRIALS: Final = 4
"""With fewer trials that have a setting, no p-value is given."""


def setting_effects(trials: Sequence[tuple[Mapping[str, Any], float]]) -> list[dict[str, Any]]:
    """How the score goes with each setting that varies between trials, the smallest p-value first.

    It is an association within the trials at hand: settings vary together, and searches with early
    stopping give good trials more epochs.

    Args:
        trials: Settings and score of each.

    Returns:
        `setting`; `trials` that have it; `correlation`, Spearman's of score and value, for numbers, None
        otherwise or where one of both does not vary; `p_value` of it, or of the Kruskal-Wallis test between
        values of names, None with fewer than `FEWEST_TRIALS` trials or where nothing varies; `p_holm`, the
        same corrected by Holm over the settings; `means`, of each value `value`, `trials` and `mean` score,
        for more than five numbers by thirds.
    """
    names = sorted({name for settings, _ in trials for name in settings})
    found = []
    for name in names:
        pairs = [(settings[name], score) for settings, score in trials if name in settings]
        if len({str(value) for value, _ in pairs}) > 1:
            found.append(_effect(name, pairs))
    for effect, p_holm in zip(found, holm([effect["p_value"] for effect in found]), strict=True):
        effect["p_holm"] = p_holm
    return sorted(found, key=lambda effect: 2.0 if effect["p_value"] is None else effect["p_value"])


def _effect(name: str, pairs: Sequence[tuple[Any, float]]) -> dict[str, Any]:
    values, scores = [value for value, _ in pairs], np.array([score for _, score in pairs])
    is_number = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    correlation = p_value = None
    if is_number and np.ptp(scores) > 0 and len(pairs) > 2:
        result = spearmanr(values, scores)
        correlation, p_value = float(result.statistic), float(result.pvalue)
    elif not is_number and np.ptp(scores) > 0:
        texts = np.array([str(value) for value in values])
        p_value = float(kruskal(*(scores[texts == text] for text in np.unique(texts))).pvalue)
    if len(pairs) < FEWEST_TRIALS:
        p_value = None
    effect = {"setting": name, "trials": len(pairs), "correlation": correlation, "p_value": p_value}
    return effect | {"p_holm": None, "means": _means(values, scores, is_number)}


def _means(values: Sequence[Any], scores: Any, is_number: bool) -> list[dict[str, Any]]:
    if is_number and len(set(values)) > 5:
        order = np.argsort(values, kind="stable")
        parts = [part for part in np.array_split(order, 3) if len(part)]
        texts = [f"{values[part[0]]:.3g} to {values[part[-1]]:.3g}" for part in parts]
    else:
        distinct = sorted(set(values)) if is_number else sorted({str(value) for value in values})
        parts = [
            np.array([i for i, value in enumerate(values) if value == one or str(value) == one])
            for one in distinct
        ]
        texts = [f"{one:.3g}" if is_number else str(one) for one in distinct]
    return [
        {"value": text, "trials": len(part), "mean": float(scores[part].mean())}
        for text, part in zip(texts, parts, strict=True)
    ]


COMPARED_METRICS: Final = tuple(metric for metric in METRIC_NAMES if metric != "f1")
"""F1 of the voxels is Dice by definition: testing both would show one finding twice."""

STRUCTURES: Final = (*(LABEL_NAMES[label] for label in FOREGROUND), "mean")

SAME_ML: Final = 1e-3
"""Volumes of the same label differ by no more than this, mL."""

DEFINITIONS: Final = {
    "f1": "F1 of the voxels is the Dice coefficient by definition, and is not compared a second time",
    "patient": "a patient's value is the mean over its volumes; of an index, the absolute error",
    "difference": "second minus first, mean over patients, 95% interval by paired bootstrap of patients",
    "p_value": "Wilcoxon signed-rank test, two-sided, paired by patient",
    "p_holm": "corrected by Holm over the pairs of models for one metric of one structure",
    "ranks": "by the mean over patients, in resamples of the patients (doi:10.1038/s41598-021-82017-6)",
    "seconds_per_volume": "median wall time: models are measured one after the other, and other work of the "
    "machine slows them",
    "cpu_seconds": "processor time of all threads for one image, the largest",
    "peak_mb": "resident memory of a process that predicts that image, libraries included, 1e6 bytes",
}


@dataclass(frozen=True, slots=True)
class Figure:
    """Something that models are compared by.

    Attributes:
        name: Metric, or index whose absolute error counts.
        structure: One of `STRUCTURES`; `""` for an index.
    """

    name: str
    structure: str

    @property
    def is_higher_better(self) -> bool:
        """Overlaps are better if larger, distances and errors if smaller."""
        return bool(self.structure) and not self.name.endswith("_mm")


FIGURES: Final = (
    *(Figure(metric, structure) for metric in COMPARED_METRICS for structure in STRUCTURES),
    *(Figure(index, "") for index in INDEX_FIELDS),
)


def compare_models(
    models: Mapping[str, Sequence[Case]], *, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Any]:
    """Metrics of each model, paired differences of each two, and stability of their ranks.

    Args:
        models: At least two, by name: cases of the same volumes.
        resamples: Number of bootstrap resamples; each is the same for all models.
        seed: Seed of the bootstrap.

    Returns:
        `models` (by name `summary`, `intervals`, `by_phase`, `by_group` and `absent_from` as from
        `summarise`), `patients` (names in order, with group), `values` (figure by model and patient for
        mean Dice), `pairs` (those of `paired_difference` with `figure`, `structure`, `first`, `second`
        and `p_holm`), `ranks` (those of `rank_stability` with `figure` and `structure`) and `definitions`.

    Raises:
        DataError: If there are fewer than two models, or they are not about the same volumes and labels.
    """
    if len(models) < 2:
        raise DataError(f"expected at least two models to compare, found {list(models)}; give more")
    _check_same_volumes(models)
    first = next(iter(models.values()))
    patients = {case.patient: case.group for case in first}
    names = sorted(patients)
    drawn = bootstrap_weights(len(names), resamples=resamples, seed=seed)
    values = {
        figure: np.stack([patient_values(cases, names, figure) for cases in models.values()])
        for figure in FIGURES
    }
    shown = ("summary", "intervals", "by_phase", "by_group", "absent_from")
    summaries = {name: summarise(cases, resamples=resamples, seed=seed) for name, cases in models.items()}
    return {
        "models": {name: {key: content[key] for key in shown} for name, content in summaries.items()},
        "patients": [{"patient": name, "group": patients[name]} for name in names],
        "values": {name: values[Figure("dice", "mean")][row] for row, name in enumerate(models)},
        "pairs": [pair for figure in FIGURES for pair in _pairs(figure, list(models), values[figure], drawn)],
        "ranks": [
            {"figure": figure.name, "structure": figure.structure, **found}
            for figure in FIGURES
            if (found := rank_stability(values[figure], drawn, is_higher_better=figure.is_higher_better))
        ],
        "definitions": dict(DEFINITIONS),
    }


def patient_values(cases: Sequence[Case], patients: Sequence[str], figure: Figure) -> FloatArray:
    """A figure of each patient, `(P,)`: mean over its volumes, or absolute error of an index.

    Args:
        cases: Evaluated volumes of these patients.
        patients: Their names in the order wanted.
        figure: What to take.

    Returns:
        NaN for a patient without a volume for which the figure is defined.
    """
    if figure.structure:
        found = _volume_figures(cases, figure)
    else:
        field = INDEX_FIELDS[figure.name]
        found = {}
        for patient in patient_indices(cases):
            measured, truth = getattr(patient.predicted, field), getattr(patient.truth, field)
            if measured is not None and truth is not None:
                found[patient.patient] = [abs(measured - truth)]
    return np.array([np.mean(found[name]) if found.get(name) else np.nan for name in patients])


def _volume_figures(cases: Sequence[Case], figure: Figure) -> dict[str, list[float]]:
    labels = {LABEL_NAMES[label]: label for label in FOREGROUND}
    found: dict[str, list[float]] = {}
    for case in cases:
        if figure.structure == "mean":
            value = case.mean(figure.name)
        else:
            value = case.value(figure.name, labels[figure.structure])
        if value is not None:
            found.setdefault(case.patient, []).append(value)
    return found


def _pairs(
    figure: Figure, models: Sequence[str], values: FloatArray, weights: FloatArray
) -> Iterator[dict[str, Any]]:
    couples = list(combinations(range(len(models)), 2))
    found = [
        paired_difference(values[first], values[second], weights, is_higher_better=figure.is_higher_better)
        for first, second in couples
    ]
    corrected = holm([difference["p_value"] for difference in found])
    for (first, second), difference, p_holm in zip(couples, found, corrected, strict=True):
        yield {
            "figure": figure.name,
            "structure": figure.structure,
            "first": models[first],
            "second": models[second],
            **difference,
            "p_holm": p_holm,
        }


def _check_same_volumes(models: Mapping[str, Sequence[Case]]) -> None:
    reference, *others = models
    wanted = _by_name(models[reference], reference)
    problems = []
    for name in others:
        found = _by_name(models[name], name)
        lacking, more = sorted(wanted.keys() - found.keys()), sorted(found.keys() - wanted.keys())
        relabelled = sorted(
            volume
            for volume in wanted.keys() & found.keys()
            if any(
                abs(wanted[volume].truth_ml[label] - found[volume].truth_ml[label]) > SAME_ML
                for label in FOREGROUND
            )
        )
        for words, volumes in (("lacks", lacking), ("also has", more), ("has other labels of", relabelled)):
            if volumes:
                problems.append(f"{name} {words} {_listed(volumes)}")
    if problems:
        raise DataError(
            f"expected evaluations of the volumes that {reference} was measured on, found: "
            f"{'; '.join(problems)}; evaluate all models on the same patients"
        )


def _by_name(cases: Sequence[Case], model: str) -> dict[str, Case]:
    named = {case.name: case for case in cases}
    if len(named) != len(cases):
        raise DataError(f"expected each volume once in {model}, found some twice; evaluate it again")
    return named


def _listed(volumes: Sequence[str], most: int = 6) -> str:
    more = f" and {len(volumes) - most} more" if len(volumes) > most else ""
    return ", ".join(volumes[:most]) + more


MODELS_FOLDER: Final = "models"
CONTENT_NAME: Final = "comparison.json"
TABLE_NAME: Final = "comparison.csv"


def write_comparison(content: dict[str, Any], output: Path) -> list[str]:
    """Write `comparison.json` and `comparison.csv`; returns their names.

    Args:
        content: As from `compare`.
        output: Folder that takes them; made if it does not exist.

    Raises:
        OutputError: If a file cannot be written.
    """
    rows = long_rows(content)
    write_csv(output_folder(output) / TABLE_NAME, rows[0], rows)
    write_json(output / CONTENT_NAME, content)
    return [CONTENT_NAME, TABLE_NAME]


def long_rows(content: dict[str, Any]) -> list[dict[str, Any]]:
    """A row for each metric and index of each model: over all, by phase and by group.

    Args:
        content: Content of `comparison.json`.

    Returns:
        Rows with `model`, `part`, `figure`, `structure`, `value`, `low`, `high` and `patients`.
    """
    rows = []
    for model, found in content["models"].items():
        parts = {"all": found["summary"], **found["by_phase"], **found["by_group"]}
        for part, summary in parts.items():
            intervals = found["intervals"] if part == "all" else {}
            keys = [(metric, name) for metric in METRIC_NAMES for name in STRUCTURES]
            keys += [(index, "mae") for index in INDEX_FIELDS if index in summary]
            for figure, name in keys:
                low, high = (intervals.get(figure) or {}).get(name) or (None, None)
                rows.append(
                    {
                        "model": model,
                        "part": part,
                        "figure": figure,
                        "structure": "" if name == "mae" else name,
                        "value": summary[figure][name],
                        "low": low,
                        "high": high,
                        "patients": summary["patients"],
                    }
                )
    return rows


def compare(
    evaluations: Sequence[Path],
    models: Sequence[Model],
    output: Path,
    *,
    dataset_dir: Path | None = None,
    section: Section = "test",
    fold: int = 0,
    trials: Sequence[tuple[Mapping[str, Any], float]] | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Compare models on the same patients; those given as networks are measured first.

    Args:
        evaluations: Folders of `thorax evaluate` or `thorax cross-validate`, named as their models.
        models: Networks to measure on a section of the datalist, into `models/NAME` of `output`, unless
            they are there.
        output: Folder of the comparison.
        dataset_dir: Folder of `thorax prepare acdc`, for `models`.
        section: Part of the datalist to measure on.
        fold: Fold that validation stands for.
        trials: Settings and score of each trial of a search, if their effects are of interest.
        device: `"auto"`, or a torch device, for `models`.

    Returns:
        As from `compare_models`; also `cost` of each model, `measured_on` in words, and `effects` of
        the settings if there are trials.

    Raises:
        ConfigError: If there are models but no `dataset_dir`, or two have one name; as for
            `evaluate_models`.
        DataError: If the evaluations are not about the same patients, or something cannot be read.
        OutputError: If a result cannot be written.
    """
    folders = {folder.resolve().name: folder for folder in evaluations}
    repeated = len(folders) < len(evaluations) or any(model.name in folders for model in models)
    if repeated:
        raise ConfigError("expected models of different names, found one twice; rename a folder or a model")
    measured_on = "those of the evaluations given"
    if models:
        if dataset_dir is None:
            raise ConfigError("expected the patients to measure models on, found none; give --data")
        datalist = read_datalist(dataset_dir)
        folders |= evaluate_models(
            models,
            patient_records(select(datalist, section, fold)),
            output / MODELS_FOLDER,
            root=Path(datalist["root"]),
            device=device,
        )
        measured_on = f"split {section}" + (f" of fold {fold}" if section != "test" else " of the datalist")
    found = {name: read_evaluation(folder) for name, folder in folders.items()}
    content = compare_models({name: cases for name, (cases, _) in found.items()})
    for name, (_, cost) in found.items():
        content["models"][name]["cost"] = cost
    content["measured_on"] = measured_on
    if trials is not None:
        content["effects"] = setting_effects(trials)
        content["definitions"]["effects"] = (
            "association of a setting with the score within the trials, not its effect by itself: settings "
            "vary together, and a search with early stopping gives good trials more epochs"
        )
    return content
