"""Draws what `ops.py --output` measured: milliseconds against batch size and number of classes.

python benchmarks/plot_ops.py docs/images/ops.png torch.csv tensorflow.csv jax.csv
"""

import csv
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

LABELS = {
    "pairwise": "all pairs",
    "reference": "class sums, keras.ops",
    "compiled": "class sums, compiled",
    "native": "native",
    "read": "one read (the limit)",
}
COLORS = dict(zip(LABELS, ("#b4464b", "#d98c3c", "#8c6bb1", "#2b7a78", "#888888"), strict=True))


def main(output: str, *paths: str) -> None:
    tables = [read(path) for path in paths]
    figure, axes = plt.subplots(1, len(tables), figsize=(4.2 * len(tables), 3.6), sharey=True)
    for axis, rows in zip([axes] if len(tables) == 1 else axes, tables, strict=True):
        draw(axis, rows)
    axes_of = figure.axes
    axes_of[0].set_ylabel("loss and gradient, ms")
    lines = {line.get_label(): line for axis in axes_of for line in axis.lines}
    axes_of[0].legend(lines.values(), lines, frameon=False, fontsize=8)
    figure.tight_layout()
    figure.savefig(output, dpi=150)


def read(path: str) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def draw(axis, rows: list[dict]) -> None:
    by = "batch_size" if len({row["batch_size"] for row in rows}) > 1 else "classes"
    for name, label in LABELS.items():
        points = [(int(row[by]), float(row[f"{name}_ms"])) for row in rows if row.get(f"{name}_ms")]
        if points:
            axis.plot(*zip(*sorted(points), strict=True), "o-", label=label, color=COLORS[name])
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.xaxis.set_major_formatter("{x:.0f}")
    axis.set_xlabel(by.replace("_", " "))
    first = rows[0]
    axis.set_title(f"{first['model']}, {first['backend']}", fontsize=10)
    axis.spines[["top", "right"]].set_visible(False)


if __name__ == "__main__":
    main(*sys.argv[1:])
