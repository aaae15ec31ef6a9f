"""The tasks that Thorax has, an entry each: all that differs between hearts and radiographs by name.

What a task is done with is named, not imported: the names are looked up when they are needed, so that
everything may ask here and the command line starts fast.
"""

from dataclasses import dataclass
from pkgutil import resolve_name
from typing import Any, Final, Literal

from pipelines.core.errors import ConfigError

DatalistKind = Literal["volumes", "images"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What networks of one bundle do. Functions and classes are given as `module:name`.

    Attributes:
        name: What is looked at, in one word.
        bundle: Folder of the bundle among the bundles.
        networks: Networks of the bundle that do the task by themselves; the first is the default.
        helpers: Networks of the bundle that need more than an image.
        datalist_kind: What a datalist of `thorax prepare` lists.
        scores: Validation scores of a training; runs are compared by the first, larger is better.
        keeps_settings: Whether weights need the settings that lie beside them.
        model: Class whose `load(network, weights=..., device=...)` gives a network ready for use.
        records: Function of a folder, a section and a fold that gives what is to be evaluated.
        evaluate: Function of a folder, an output, a model and `records=` that measures and writes.
        check_int8: Function of an int8 model, weights and the network that refuses a model of others.
    """

    name: str
    bundle: str
    networks: tuple[str, ...]
    helpers: tuple[str, ...] = ()
    datalist_kind: DatalistKind
    scores: tuple[str, ...]
    keeps_settings: bool = False
    model: str
    records: str
    evaluate: str
    check_int8: str

    def find(self, role: str) -> Any:
        """The function or class that an attribute names.

        Args:
            role: Name of the attribute, e.g. `"evaluate"`.
        """
        return resolve_name(getattr(self, role))


HEART: Final = Task(
    name="heart",
    bundle="acdc_segmentation",
    networks=("unet", "attention_unet", "vnet"),
    helpers=("corrector",),
    datalist_kind="volumes",
    scores=("mean_dice", "dice_lv"),
    model="pipelines.models.heart:Predictor",
    records="pipelines.datasets.prepare:section_records",
    evaluate="pipelines.evaluation.segmentation:evaluate",
    check_int8="pipelines.models.engines:check_int8",
)

XRAY: Final = Task(
    name="xray",
    bundle="chest_xray_classification",
    networks=("efficientnet_lite0", "resnet18_tuned", "resnet18", "resnet34", "resnet50"),
    datalist_kind="images",
    scores=("auroc", "accuracy"),
    keeps_settings=True,
    model="pipelines.models.xray:Classifier",
    records="pipelines.datasets.prepare_xray:section_records",
    evaluate="pipelines.evaluation.classification:evaluate_xray",
    check_int8="pipelines.models.xray:check_int8_classifier",
)

TASKS: Final = (HEART, XRAY)

NETWORKS: Final = tuple(network for task in TASKS for network in (*task.networks, *task.helpers))
"""All networks of all bundles."""


def task_of(network: str) -> Task:
    """The task that a network belongs to.

    Raises:
        ConfigError: If no bundle has it.
    """
    for task in TASKS:
        if network in (*task.networks, *task.helpers):
            return task
    raise ConfigError(f"expected a network among {', '.join(NETWORKS)}, found {network!r}")
