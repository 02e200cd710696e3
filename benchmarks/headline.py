"""The paper's headline, on a GPU: networks trained for modularity, decomposed, all sub-tasks.

    python benchmarks/headline.py run --data cifar10 --networks vgg16 --seconds 570
    python benchmarks/headline.py report

Trains each network in each way, all side by side as processes of their own on the one GPU, with the
recipe of benchmarks/configs/headline.yaml; decomposes them; measures the modules and all sub-tasks.
A few sub-tasks are also measured with MwT's modules (`--methods mwt`), and with repaired models of
the standard network's most important units.

What is not done after `--seconds` is stopped, and goes on from the last complete epoch, or the last
256 sub-tasks, when the same command is given again. `report` prints the figures beside the paper's,
as Markdown.

`--data` is a folder of images, `train/<class>/*` and `test/<class>/*`, or a tar file of such a one;
or a name that `moda_keras.datasets.load` knows. Processes that run side by side are slow each:
benchmarks/training.py compares the time of steps.
"""

import argparse
import json
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

os.environ.setdefault("KERAS_BACKEND", "torch")

ROOT = Path(__file__).parents[1]
CONFIG = Path(__file__).parent / "configs" / "headline.yaml"
EXPERIMENTS = ("training", "modules", "reuse")
# What the experiment `methods` measures of the model that is trained in each way.
COMPARED = {
    "standard": ("standard", "importance"),
    "modular": ("moda",),
    "no_compactness": (),
    "mwt": ("mwt",),
}
FIGURES = ("accuracy", "reuse_accuracy", "module_size", "module_overlap")
# MODA (ICSE 2026), tables 2 and 3, CIFAR-10: the same figures, in percent.
PAPER = {
    ("vgg16", "standard"): (92.62, 95.2, None, None),
    ("vgg16", "modular"): (91.86, 94.48, 2.69, 1.41),
    ("vgg16", "no_compactness"): (None, 94.55, 3.55, 1.61),
    ("resnet18", "standard"): (93.37, None, None, None),
    ("resnet18", "modular"): (90.94, 94.11, 8.10, 5.52),
    ("resnet18", "no_compactness"): (None, 94.50, 11.88, 6.95),
    ("mobilenet", "standard"): (89.42, None, None, None),
    ("mobilenet", "modular"): (89.34, 91.90, 8.89, 4.42),
    ("mobilenet", "no_compactness"): (None, 92.43, 11.22, 5.58),
}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    stages = parser.add_subparsers(required=True)
    stage = stages.add_parser("run")
    stage.add_argument("--data", required=True)
    stage.add_argument("--networks", nargs="+", default=["vgg16"])
    stage.add_argument("--methods", nargs="+", choices=COMPARED, default=["standard", "modular"])
    stage.add_argument("--set", nargs="+", default=[], dest="settings", metavar="KEY=VALUE")
    stage.add_argument("--seconds", type=float, default=float("inf"))
    stage.set_defaults(run=run)
    stages.add_parser("report").set_defaults(run=report)
    for stage in stages.choices.values():
        stage.add_argument("--output", type=Path, default=Path("runs/headline"))
    arguments = parser.parse_args()
    arguments.run(arguments)


def run(arguments) -> None:
    deadline = time.monotonic() + arguments.seconds
    data = unpacked(arguments.data, arguments.output)
    processes = {}
    for network in arguments.networks:
        for method in arguments.methods:
            folder = arguments.output / f"{network}-{method}"
            folder.mkdir(parents=True, exist_ok=True)
            settings = [f"data={data}", f"networks={network}", *arguments.settings]
            processes[folder] = start(folder, method, settings)
    for folder, process in processes.items():
        try:
            process.wait(max(0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        print(f"{folder.name}: {state_of(folder, process.returncode)}", flush=True)
    report(arguments)
    sys.exit(any(process.returncode for process in processes.values()))


def unpacked(data: str, output: Path) -> str:
    """The folder of images, taken out of its tar file once."""
    if not tarfile.is_tarfile(data) if Path(data).is_file() else True:
        return data
    folder = output / "images"
    if not folder.exists():
        partial = output / "images.partial"
        with tarfile.open(data) as archive:
            archive.extractall(partial, filter="data")
        # The archive may hold the folders themselves, or one folder with them.
        (found,) = {path.parent for path in partial.glob("**/train")}
        found.rename(folder)
    return str(folder)


def start(folder: Path, method: str, settings: list[str]) -> subprocess.Popen:
    compared = COMPARED[method]
    # MwT is no kind of training of the other experiments.
    experiments = [] if method == "mwt" else [*EXPERIMENTS]
    # Not `methods=`, which is the name of an experiment too.
    settings = [*settings, *(f"{name}.methods={method}" for name in experiments)]
    if compared:
        experiments.append("methods")
        settings = [*settings, f"methods.compared={','.join(compared)}"]
    command = [sys.executable, "-c", "from moda_keras.cli import main; main()", "experiment"]
    command += [*experiments, "--config", str(CONFIG), "--output", str(folder)]
    for setting in settings:
        command += ["--set", setting]
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "PYTHONPATH": path}
    with (folder / "log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, env=environment)


def state_of(folder: Path, returncode: int) -> str:
    if returncode == 0:
        return "done"
    epochs = max((len(rows_of(path)) for path in folder.glob("models/*.csv")), default=0)
    subtasks = sum(len(rows_of(path)) for path in folder.glob("subtasks/*.csv"))
    last = (folder / "log").read_text().strip().splitlines()[-1:]
    why = "out of time" if returncode == -9 else f"failed: {' '.join(last)}"
    return f"{why} after {epochs} epochs and {subtasks} sub-tasks"


# ---------------------------------------------------------------------------------------- report


def report(arguments) -> None:
    """Prints one row for each model, and the curves over the number of classes."""
    folders = sorted(path.parent for path in arguments.output.glob("*/modules.csv"))
    head = ("network", "method", "test accuracy", "reuse accuracy", "module size", "overlap")
    lines = [line(head), line(["---"] * len(head))]
    for folder in folders:
        for row in rows_of(folder / "modules.csv"):
            lines += rows_beside_paper(row)
    print("\n".join(lines))
    print_methods(sorted(arguments.output.glob("*/methods.csv")))
    for folder in folders:
        print_curve(folder)
        print_environment(folder)


def rows_beside_paper(row: dict) -> list[str]:
    cells = [row["network"], row["method"], *(percent(row[name]) for name in FIGURES)]
    paper = PAPER.get((row["network"], row["method"]))
    if paper is None:
        return [line(cells)]
    known = ["" if figure is None else f"{figure:.2f}" for figure in paper]
    return [line(cells), line(["", "paper", *known])]


def print_methods(paths: list[Path]) -> None:
    """One row for each method, all on the same sub-tasks: those of the config's `methods`."""
    names = ("accuracy", "reuse_accuracy", "full_accuracy", "module_size", "size", "flops")
    print(f"\n{line(('network', 'method', *names))}\n{line(['---'] * (2 + len(names)))}")
    for row in [row for path in paths for row in rows_of(path)]:
        print(line([row["network"], row["method"], *(percent(row[name]) for name in names)]))


def print_curve(folder: Path) -> None:
    names = ("k", "subtasks", "reuse_accuracy", "full_accuracy", "size", "flops")
    rows = rows_of(folder / "reuse.csv")
    if not rows:
        return
    print(f"\n{folder.name}, against the number of classes k\n\n{line(names)}")
    print(line(["---"] * len(names)))
    for row in rows:
        print(line([row["k"], row["subtasks"], *(percent(row[name]) for name in names[2:])]))


def print_environment(folder: Path) -> None:
    content = json.loads((folder / "modules.json").read_text())
    epochs = [row for path in folder.glob("models/*.csv") for row in rows_of(path)]
    seconds = sum(row["seconds"] for row in epochs)
    print(f"\n{len(epochs)} epochs in {seconds:.0f} s; {json.dumps(content['environments'])}")


def rows_of(path: Path) -> list[dict]:
    from moda_keras.experiments import read_rows

    return read_rows(path) if path.exists() else []


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.2f}"


def line(cells) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


if __name__ == "__main__":
    main()
