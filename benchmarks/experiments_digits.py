"""Every experiment on scikit-learn's digits at small scale; the tables of docs/results.md.

    python benchmarks/experiments_digits.py --output results/digits

A killed run goes on when it is started again. Prints the summaries as Markdown tables.
"""

import argparse
import time

from moda_keras.experiments import EXPERIMENTS, summarize

DIGITS = {
    "data": "digits",
    "image_size": 16,
    "networks": ["small_cnn"],
    "epochs": 60,
    "batch_size": 64,
    "augment": "none",
}
OWN = {
    "ablation": {"alphas": [0.0, 1.0], "betas": [0.0, 1.0], "gammas": [0.0, 0.3, 1.0]},
    "reuse": {"verified": 2},
    "stability": {"seeds": [0, 1, 2]},
    # LeNet5 without BatchNormalization learns little from a few large batches.
    "replacement": {"weak_batch_size": 8, "epoch_fraction": 0.1},
}
# What the tables show, of what is measured.
SHOWN = {
    "suppression": ["cells", "units", "frequency", "mean_loss", "worst_loss"],
}


def markdown(rows: list[dict]) -> str:
    """Rows as a Markdown table; deviations behind their means."""
    names = [name for name in rows[0] if not name.endswith("_sd")]
    lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
    lines += ["| " + " | ".join(cell(row, name) for name in names) + " |" for row in rows]
    return "\n".join(lines)


def cell(row: dict, name: str) -> str:
    value, deviation = row.get(name), row.get(f"{name}_sd")
    if isinstance(value, float):
        spread = f" +- {deviation:.4f}" if deviation else ""
        return f"{value:.4f}{spread}"
    return str(value)


def shown(experiment, rows: list[dict]) -> list[dict]:
    """The summary; of single units the mean over all of an activation."""
    if experiment.name == "suppression":
        rows = [{**row, "ablated": row["ablated"].partition(":")[0] + single(row)} for row in rows]
    summary = summarize(rows, experiment.group_by, experiment.figures)
    names = [*experiment.group_by, *SHOWN.get(experiment.name, ["cells", *experiment.figures])]
    deviations = [f"{name}_sd" for name in names]
    return [{n: row[n] for n in [*names, *deviations] if n in row} for row in summary]


def single(row: dict) -> str:
    return " (one by one)" if ":" in row["ablated"] else ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", default="results/digits")
    parser.add_argument("--only", nargs="+", choices=list(EXPERIMENTS), default=list(EXPERIMENTS))
    parser.add_argument("--scale", type=float, default=1.0)
    arguments = parser.parse_args()
    for name in arguments.only:
        experiment = EXPERIMENTS[name]
        config = experiment.config(**DIGITS | OWN.get(name, {}), scale=arguments.scale)
        start = time.perf_counter()
        rows = experiment.run(config, arguments.output)
        seconds = time.perf_counter() - start
        print(f"\n## {name}: {experiment.title} ({seconds:.0f} s)\n")
        print(markdown(shown(experiment, rows)), flush=True)


if __name__ == "__main__":
    main()
