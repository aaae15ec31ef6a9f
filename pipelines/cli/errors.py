"""The commands of `thorax` that show where a segmentation network fails, and what it looks at."""

from pathlib import Path

from pipelines.cli.options import Section, console, say
from pipelines.core.progress import progress_bar


def analyse_hearts(
    root: Path,
    output: Path,
    network: str,
    weights: Path | None,
    section: Section,
    fold: int,
    reader: str,
    worst: int,
    *,
    tta: bool,
    ensemble: bool,
    device: str,
) -> None:
    """Show where a network fails: slices, factors, agreement, failures, uncertainty."""
    from pipelines.core.manifest import write_manifest
    from pipelines.datasets.prepare import section_records
    from pipelines.datasets.readers import find_reader

    records = section_records(root, section, fold)
    if records is None:
        find_reader(reader).read(root)  # a wrong folder is told of before the network is loaded
    from pipelines.evaluation.error_files import ERRORS_NAME, PICTURES, SLICES_NAME, explore_heart_errors
    from pipelines.models.bundle import NETWORKS
    from pipelines.models.heart import Predictor
    from pipelines.reporting.report import write_result_page
    from pipelines.reporting.results.errors import findings

    page = output / "errors.html"
    predictor = Predictor.load(NETWORKS if ensemble else network, weights=weights, tta=tta, device=device)
    with progress_bar("Analysing", console) as tell:
        content = explore_heart_errors(
            root, output, predictor, records=records, reader=reader, count=worst, progress=tell
        )
    write_manifest(
        output,
        networks=predictor.networks,
        tta=tta,
        section=section if records is not None else None,
        outputs=[page.name, ERRORS_NAME, SLICES_NAME, PICTURES],
    )
    write_result_page(output, page)
    for sentence in findings(content):
        say(sentence)
    for problem in content["problems"]:
        say(f"skipped {problem['patient']}: {problem['reason']}")
    say(f"page in {page}")


def show_features(
    image: Path,
    output: Path,
    network: str,
    weights: Path | None,
    layer: list[str] | None,
    slice_number: int | None,
    device: str,
) -> None:
    """Draw what layers of a network answer to a slice, and its attention gates."""
    from pipelines.models.heart import Predictor
    from pipelines.reporting.feature_figures import show_features as draw_features

    predictor = Predictor.load(network, weights=weights, device=device)
    written = draw_features(image, output, predictor, layers=layer, slice_number=slice_number)
    for path in written:
        say(str(path))
