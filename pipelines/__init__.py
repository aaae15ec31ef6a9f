"""Thorax: thoracic images into numbers a clinician can check and correct.

The names of `__all__` are the public face. Each is looked up when it is first used, so that
`import pipelines` takes no time.
"""

from pkgutil import resolve_name
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from pipelines.datasets.readers import read_dataset
    from pipelines.evaluation.comparison import evaluate
    from pipelines.inference.classify import classify
    from pipelines.inference.segment import segment
    from pipelines.models.heart import Predictor
    from pipelines.models.xray import Classifier
    from pipelines.training.launch import train_network as train

__version__ = "0.1.0"

__all__ = ["Classifier", "Predictor", "classify", "evaluate", "read_dataset", "segment", "train"]

_PLACES: Final = {
    "Classifier": "pipelines.models.xray:Classifier",
    "Predictor": "pipelines.models.heart:Predictor",
    "classify": "pipelines.inference.classify:classify",
    "evaluate": "pipelines.evaluation.comparison:evaluate",
    "read_dataset": "pipelines.datasets.readers:read_dataset",
    "segment": "pipelines.inference.segment:segment",
    "train": "pipelines.training.launch:train_network",
}


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = resolve_name(_PLACES[name])
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
