"""Commands of the documentation, and how each is tried."""

import re
import shlex
import shutil
import socket
import sys
from collections.abc import Callable

import yaml
from doc_environment import activate, conda, install_hook
from doc_store import in_order
from doc_workspace import COMMANDS, ROOT, Command, Workspace
from labelled_studies import write_labelled_studies
from measured_images import measured_images
from square_heart import write_square_hearts
from without_thorax import RUN_MONAI

from pipelines.core.files import write_csv


def is_about_xrays(command: Command) -> bool:
    return re.search(r"xray|resnet|lite0|int8", f"{command.folder} {command.text}") is not None


def run_it(workspace: Workspace, command: Command) -> None:
    workspace.run(command)


def train_smoke(workspace: Workspace, command: Command) -> None:
    """At smoke scale; what is resumed must exist, and nothing else may."""
    make_inputs(workspace, command)
    if "--resume" in command.text:
        ensure_run(workspace)
    else:
        shutil.rmtree(workspace.folder / output_of(command), ignore_errors=True)
    workspace.run(command, *([] if "--smoke" in command.text else ["--smoke"]))


def monai_smoke(workspace: Workspace, command: Command) -> None:
    """With the overlay that stands behind `--smoke`."""
    arguments = re.search(r"--args_file (\S+)", command.text)
    assert arguments is not None
    bundle = workspace.folder / command.folder
    layers = yaml.safe_load((bundle / arguments[1]).read_text(encoding="utf-8"))["config_file"]
    files = ",".join(f"'{layer}'" for layer in [*layers, "configs/smoke.yaml"])
    shutil.rmtree(bundle / "runs", ignore_errors=True)
    workspace.run(command, "--config_file", f'"[{files}]"')


def evaluate_two(workspace: Workspace, command: Command) -> None:
    """On two patients, and with weights that are there."""
    if "--weights" in command.text:
        ensure_run(workspace)
    small = {**workspace.paths, "/path/to/ACDC": workspace.folder / "two"}
    few = ["--clicks 1 --slice-clicks 1"] if "clicks" in command.text else []
    Workspace(workspace.folder, small).run(command, *few)


def cross_two(workspace: Workspace, command: Command) -> None:
    """On the test set of a phantom cohort, and without more phantoms."""
    ensure_run(workspace)
    workspace.run(command, "--phantoms 0")


SMALLER = {
    "thorax tune resnet18": "--trials 1 --epochs 1 --set size_px=[32,32] --set batch_size=8 --set warmup=2",
    "thorax tune unet": "--smoke --workers 1",
    "thorax export": "--rounds 1",
    "thorax explain": "--of-each 1",
    "thorax cohort benchmark": "--volumes 4 --frames 3 --cines 1",
}
"""What makes a long command short."""


def with_inputs(workspace: Workspace, command: Command) -> None:
    """With what it reads, made by the documented commands that write it."""
    make_inputs(workspace, command)
    smaller = [more for start, more in SMALLER.items() if command.text.startswith(start)]
    if smaller:
        shutil.rmtree(workspace.folder / output_of(command), ignore_errors=True)
    workspace.run(command, *smaller)


def measure(workspace: Workspace, command: Command) -> None:
    """Of radiographs and generated hearts those that were prepared, of other hearts two patients."""
    is_prepared = is_about_xrays(command) or "hearts-" in command.text
    (with_inputs if is_prepared else evaluate_two)(workspace, command)


def explain(workspace: Workspace, command: Command) -> None:
    """With what it reads, if that is of radiographs."""
    (with_inputs if is_about_xrays(command) else run_it)(workspace, command)


def cohort_small(workspace: Workspace, command: Command) -> None:
    """By one worker; what is resumed must exist, and nothing else may."""
    if "--resume" in command.text:
        make_inputs(workspace, Command(".", f"{output_of(command)} --output none"))
    else:
        shutil.rmtree(workspace.folder / output_of(command), ignore_errors=True)
    workspace.run(command, "--workers 1")


def torchrun_smoke(workspace: Workspace, command: Command) -> None:
    """At smoke scale, in a run of its own."""
    files = command.text.split('"')[1].replace("'configs/multi", "'configs/smoke.yaml','configs/multi")
    shutil.rmtree(workspace.folder / command.folder / "runs" / "torchrun", ignore_errors=True)
    workspace.run(command, "--output_dir runs/torchrun", "--config_file", f'"{files}"')


def in_exported(workspace: Workspace, command: Command) -> None:
    """In the unpacked bundle, made by the documented commands."""
    ensure_bundle(workspace, command)
    workspace.run(command)


def with_monai_alone(workspace: Workspace, command: Command) -> None:
    """Where the package cannot be imported."""
    ensure_bundle(workspace, command)
    output = re.search(r"--output_dir (\S+)", command.text)
    assert output is not None
    shutil.rmtree(workspace.folder / command.folder / output[1], ignore_errors=True)
    text = command.text.replace("python -m monai.bundle", f"python -c {shlex.quote(RUN_MONAI)}")
    workspace.run(Command(command.folder, text))
    assert list((workspace.folder / command.folder / output[1]).iterdir())


def ensure_bundle(workspace: Workspace, command: Command) -> None:
    if not (workspace.folder / command.folder).exists():
        unpack = next(maker for maker in COMMANDS if maker.text.startswith("python -m zipfile"))
        run_documented(workspace, unpack)


def make_inputs(workspace: Workspace, command: Command) -> None:
    for folder in re.findall(r"runs/[\w-]+", command.text.replace(output_of(command), "")):
        if not (workspace.folder / folder).exists():
            run_documented(workspace, next(maker for maker in COMMANDS if output_of(maker) == folder))


def output_of(command: Command) -> str:
    found = re.search(r"--output (\S+)", command.text)
    return found[1] if found else "none"


def demo_smoke(workspace: Workspace, command: Command) -> None:
    """What make would run, with seconds for the training."""
    output = "runs/demo-data" if "DATA=" in command.text else "runs/demo"
    workspace.run(Command(".", expansion(workspace, command)), "--smoke", "--output", output)


def expands_to(tool: str) -> Callable[[Workspace, Command], None]:
    """A target that is running now or takes minutes: make would run this tool."""

    def check(workspace: Workspace, command: Command) -> None:
        assert tool in expansion(workspace, command)

    return check


def expands_to_nothing_more(workspace: Workspace, command: Command) -> None:
    """The environment is there, and can be activated."""
    assert "Nothing to be done" in expansion(workspace, Command(".", "make install"))
    activate(workspace, Command(".", command.text.split(" && ")[1]))


def expansion(workspace: Workspace, command: Command) -> str:
    """The last line that make would run for a target whose environment is there."""
    stamp = f"VENV={sys.prefix}", "-o", f"{sys.prefix}/.installed", "-o", f"{sys.prefix}/tools/.installed"
    return workspace.run(command, "--dry-run", "-f", str(ROOT / "Makefile"), *stamp).splitlines()[-1]


def inspect_events(workspace: Workspace, command: Command) -> None:
    """Reads what the server would show, and ends."""
    ensure_run(workspace)
    assert "scalars" in workspace.run(command, "--inspect")


def ensure_run(workspace: Workspace) -> None:
    if not (workspace.folder / "runs" / "unet").exists():
        workspace.run(Command(".", "thorax train unet --data runs/acdc --output runs/unet --smoke"))


def build_site(workspace: Workspace, command: Command) -> None:
    """What make would run, into another folder."""
    line = expansion(workspace, command)
    site = workspace.folder / "site"
    workspace.run(Command(".", line), "-f", str(ROOT / "mkdocs.yml"), "-d", str(site))
    assert "Get started" in (site / "get-started" / "index.html").read_text(encoding="utf-8")


def clean(workspace: Workspace, command: Command) -> None:
    """The environment goes, the runs stay."""
    (workspace.folder / ".venv").mkdir()
    for name in ("pipelines", "tests"):
        (workspace.folder / name / "__pycache__").mkdir(parents=True)
    workspace.run(command)
    assert not (workspace.folder / ".venv").exists()
    assert not (workspace.folder / "tests" / "__pycache__").exists()
    assert (workspace.folder / "runs" / "acdc" / "datalist.json").exists()
    for name in ("pipelines", "tests"):  # a folder of the package's name would hide the package from Ray
        (workspace.folder / name).rmdir()


def serve_a_moment(workspace: Workspace, command: Command) -> None:
    """Until it has answered once, on a port of its own; users are added before."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for maker in COMMANDS:
        if maker.text.startswith("thorax server add-user") and "--users" in command.text:
            run_documented(workspace, maker)
    wait = (
        "import time, urllib.request\n"
        "for _ in range(900):\n"
        "    try:\n"
        f"        print(urllib.request.urlopen('http://127.0.0.1:{port}/auth/').read()); break\n"
        "    except OSError:\n"
        "        time.sleep(0.1)\n"
    )
    text = f"{command.text} --port {port} & python -c {shlex.quote(wait)}; kill $!; wait $! || true"
    assert '"enabled":' in workspace.run(Command(command.folder, text))


def on_labelled_studies(workspace: Workspace, command: Command) -> None:
    """Where somebody has accepted labels, and one epoch."""
    studies = workspace.folder / "labelled"
    if not studies.exists():
        write_labelled_studies(studies)
    small = Workspace(workspace.folder, {**workspace.paths, "/path/to/studies": studies})
    small.run(Command(command.folder, re.sub(r"--epochs \d+", "--epochs 1", command.text)))


def label_two(workspace: Workspace, command: Command) -> None:
    """With two patients and a few batches."""
    workspace.run(command, "--start 1 --add 1 --most 2 --seeds 1 --first-steps 2 --steps 1")


def add_a_user(workspace: Workspace, command: Command) -> None:
    """With a password on standard input."""
    workspace.run(Command(command.folder, f"echo 'correct horse battery' | {command.text}"))


def cross_validate_one(workspace: Workspace, command: Command) -> None:
    """One fold, at smoke scale."""
    workspace.run(command, "--folds 0 --smoke --set max_epochs=1")


def recipe_smoke(workspace: Workspace, command: Command) -> None:
    """At smoke scale, and one trial at a time."""
    make_inputs(workspace, command)
    shutil.rmtree(workspace.folder / output_of(command), ignore_errors=True)
    smoke = [] if "--smoke" in command.text else ["--smoke"]
    workspace.run(command, "--workers 1", *smoke)


def judge_small(workspace: Workspace, command: Command) -> None:
    """With a score of generated measurements, where one would be fitted: five folds need more patients."""
    ensure_run(workspace)
    images = workspace.folder / "runs" / "images.csv"
    if not images.exists():
        rows = [image.as_row() for image in measured_images()]
        write_csv(images, rows[0], rows)
    make_inputs(workspace, command)
    workspace.run(command, f"--images {images}")


def on_ten_hearts(workspace: Workspace, command: Command) -> None:
    """On a cohort that has enough patients of each group."""
    folder = workspace.folder / "runs" / "many"
    if not folder.exists():
        write_square_hearts(folder)
    workspace.run(Command(command.folder, command.text.replace("runs/acdc", "runs/many")))


def watch_once(workspace: Workspace, command: Command) -> None:
    """Until what is there is done."""
    waits = "--settle-seconds 0.2 --quiet-seconds 0.5 --poll-seconds 0.2"
    workspace.run(command, f"--once {waits}")


def status_of_watched(workspace: Workspace, command: Command) -> None:
    """Of the folder that the documented command writes to."""
    if not (workspace.folder / "runs" / "watched").exists():
        run_documented(workspace, next(one for one in COMMANDS if one.text.startswith("thorax watch run ")))
    assert "1 done" in workspace.run(command)


RUNNERS: dict[str, Callable[[Workspace, Command], None]] = {
    r"make demo( DATA=\S+)?": demo_smoke,
    r"(THORAX_DATA=\S+ )?make test(-slow)?( ARGS=.*)?": expands_to("python -m pytest"),
    r"make check": expands_to("supply_chain.py audit"),
    r"make bench": expands_to("thorax cohort benchmark"),
    r"make audit": expands_to("supply_chain.py audit"),
    r"make sbom": expands_to("supply_chain.py sbom"),
    r"make lock": expands_to("uv pip compile"),
    r"make checksums": expands_to("write_shipped"),
    r"make (stale|results .*)": expands_to(".ci/results.py"),
    r"thorax store .*": in_order,
    r"thorax segment .* --bundle .*": in_order,
    r"make docs": build_site,
    r"make install && source \S+/activate": expands_to_nothing_more,
    r"make clean": clean,
    r"conda env create -f \S+": conda,
    r"source \S+/activate": activate,
    r"\S*/pre-commit install": install_hook,
    r"tensorboard --logdir \S+": inspect_events,
    r"python -m monai\.bundle run training .*": monai_smoke,
    r"python -m zipfile .*": with_inputs,
    r"sha256sum .*": in_exported,
    r"python -m monai\.bundle run --config_file .*": with_monai_alone,
    r"python -m monai\.bundle run evaluating .*": run_it,
    r"python -m monai\.bundle (\w+_export|verify_\w+) .*": in_exported,
    r"thorax (train|cross-validate .*--unseen-masks) .*": train_smoke,
    r"torchrun .*": torchrun_smoke,
    r"thorax cohort run .*": cohort_small,
    r"thorax cohort (benchmark|simulate) .*": with_inputs,
    r"thorax cross-validate (?!.*--unseen-masks).*": cross_validate_one,
    r"thorax compare (?!.*--dataset ).*": with_inputs,
    r"thorax serve .*": serve_a_moment,
    r"thorax server add-user .*": add_a_user,
    r"thorax watch run .*": watch_once,
    r"thorax watch status .*": status_of_watched,
    r"thorax server (fine-tune|restore) .*": on_labelled_studies,
    r"thorax quality .*": judge_small,
    r"thorax disease .*": on_ten_hearts,
    r"thorax benchmark active-learning .*": label_two,
    r"thorax check-training .*": recipe_smoke,
    r"thorax (evaluate|analyse|benchmark clicks) .*": measure,
    r"thorax benchmark measures .*": lambda workspace, command: workspace.run(command, "--phantoms 2"),
    r"thorax compare .*--dataset .*": cross_two,
    r"thorax report .*": with_inputs,
    r"thorax (tune|classify|explore|prepare) .*": with_inputs,
    r"thorax export .* --rounds .*": with_inputs,
    r"thorax explain .*": explain,
    r"thorax segment (?!.*--bundle).*": run_it,
    r"thorax (--help|datasets.*|phantom .*|export (?!.*--rounds).*)": run_it,
}


def run_documented(workspace: Workspace, command: Command) -> None:
    """As by a reader who has run no other example into the same folder."""
    if re.match(r"thorax (segment|classify|explain|phantom|prepare|export) ", command.text):
        shutil.rmtree(workspace.folder / output_of(command), ignore_errors=True)
    runners = [runner for pattern, runner in RUNNERS.items() if re.fullmatch(pattern, command.text)]
    assert len(runners) == 1, f"RUNNERS does not say how to run '{command.text}'"
    if "--resume" not in command.text:  # what another page left there may be replaced
        (workspace.folder / output_of(command) / "manifest.json").unlink(missing_ok=True)
    runners[0](workspace, command)
