"""Published agreement between human observers of cardiac MRI, each figure with its source.

Only what the source's abstract or page states is here; figures that were not seen are not.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from pipelines.evaluation.bootstrap import LIMITS_OF_AGREEMENT_SD


class Statistic(StrEnum):
    """What a published figure is of."""

    LIMITS = "95% limits of agreement"
    LIMITS_FROM_SD = "95% limits, from mean and SD"
    BIAS = "bias"
    VARIABILITY = "coefficient of variability, %"
    ICC = "intraclass correlation"
    READERS = "inter-reader agreement, range over readers"


@dataclass(frozen=True, slots=True)
class Source:
    """A publication.

    Attributes:
        name: Authors and year.
        reference: Where it stands, with its DOI or PubMed number.
        observers: Who measured what.
    """

    name: str
    reference: str
    observers: str


@dataclass(frozen=True, slots=True)
class ObserverFigure:
    """What two people who measure the same hearts differ by.

    Attributes:
        index: Name as in `summary.INDEX_FIELDS`.
        statistic: What the figure is of.
        low: Lower end in the unit of the index, percent or none; equal to `high` for a single figure.
        high: Upper end.
        source: Where it was published.
    """

    index: str
    statistic: Statistic
    low: float
    high: float
    source: Source


SUINESIAPUTRA: Final = Source(
    "Suinesiaputra et al. 2015",
    "JCMR 17:63, doi:10.1186/s12968-015-0170-9 (abstract)",
    "readers of seven core laboratories, 15 patients; the abstract does not name the statistic",
)
LAWTON: Final = Source(
    "Lawton et al. 2012",
    "JCMR 14(Suppl 1):T11, doi:10.1186/1532-429X-14-S1-T11 (table 1)",
    "two technologists after a short training, 20 patients with ischaemic heart disease",
)
DIABETES: Final = Source(
    "PubMed 17763966",
    "https://pubmed.ncbi.nlm.nih.gov/17763966 (abstract)",
    "a trained and an untrained reader before training, 60 patients with type 2 diabetes",
)
CATALANO: Final = Source(
    "Catalano et al.",
    "Intra-observer and interobserver reproducibility of right ventricle volumes, function and mass by "
    "cardiac magnetic resonance (abstract), https://moh-it.pure.elsevier.com/en/publications/"
    "intra-observer-and-interobserver-reproducibility-of-right-ventric",
    "two operators, 45 patients",
)
MOOIJ: Final = Source(
    "Mooij et al. 2008",
    "Reproducibility of MRI measurements of right ventricular size and function in patients with normal "
    "and dilated ventricles, JMRI (abstract)",
    "two observers, 60 patients with normal or dilated RV; range over volumes and mass",
)
LUIJNENBURG: Final = Source(
    "Luijnenburg et al. 2010",
    "Int J Cardiovasc Imaging 26:57-64, doi:10.1007/s10554-009-9501-y (abstract)",
    "35 patients with congenital heart disease; range over all indices of both ventricles",
)

LV_INDICES: Final = ("edv_lv_ml", "esv_lv_ml", "ef_lv", "mass_g")
RV_INDICES: Final = ("edv_rv_ml", "esv_rv_ml", "ef_rv")


def _from_sd(index: str, mean: float, sd: float, source: Source) -> ObserverFigure:
    half = LIMITS_OF_AGREEMENT_SD * sd
    return ObserverFigure(index, Statistic.LIMITS_FROM_SD, mean - half, mean + half, source)


OBSERVER_FIGURES: Final[tuple[ObserverFigure, ...]] = (
    ObserverFigure("edv_lv_ml", Statistic.READERS, 15.2, 28.4, SUINESIAPUTRA),
    ObserverFigure("esv_lv_ml", Statistic.READERS, 14.0, 21.5, SUINESIAPUTRA),
    ObserverFigure("mass_g", Statistic.READERS, 20.2, 34.5, SUINESIAPUTRA),
    ObserverFigure("ef_lv", Statistic.READERS, 4.6, 7.5, SUINESIAPUTRA),
    _from_sd("edv_lv_ml", 2.4, 6.1, LAWTON),
    _from_sd("mass_g", 5.1, 11.3, LAWTON),
    ObserverFigure("edv_lv_ml", Statistic.LIMITS, -61.9, 76.6, DIABETES),
    ObserverFigure("esv_lv_ml", Statistic.LIMITS, -29.9, 34.2, DIABETES),
    ObserverFigure("ef_lv", Statistic.LIMITS, -11.6, 9.9, DIABETES),
    ObserverFigure("mass_g", Statistic.LIMITS, -55.6, 28.6, DIABETES),
    ObserverFigure("edv_rv_ml", Statistic.BIAS, 5.0, 5.0, CATALANO),
    ObserverFigure("esv_rv_ml", Statistic.BIAS, 2.0, 2.0, CATALANO),
    ObserverFigure("ef_rv", Statistic.BIAS, 2.0, 2.0, CATALANO),
    *(ObserverFigure(index, Statistic.VARIABILITY, 8.0, 13.0, CATALANO) for index in RV_INDICES),
    *(
        ObserverFigure(index, Statistic.ICC, 0.94, 0.99, MOOIJ)
        for index in (*LV_INDICES, *RV_INDICES)
        if not index.startswith("ef")
    ),
    *(ObserverFigure(index, Statistic.ICC, 0.79, 0.87, MOOIJ) for index in ("ef_lv", "ef_rv")),
    *(
        ObserverFigure(index, Statistic.VARIABILITY, 3.9, 10.2, LUIJNENBURG)
        for index in (*LV_INDICES, *RV_INDICES)
    ),
)
"""What people differ by. The sign of a difference between two people means nothing."""


def figures_of(index: str) -> list[ObserverFigure]:
    """Published figures of one index, in the order of the registry."""
    return [figure for figure in OBSERVER_FIGURES if figure.index == index]


def published_limits(index: str) -> list[ObserverFigure]:
    """Published limits of agreement of one index, in its unit."""
    kinds = (Statistic.LIMITS, Statistic.LIMITS_FROM_SD)
    return [figure for figure in figures_of(index) if figure.statistic in kinds]
