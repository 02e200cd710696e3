"""`moda slim`."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from moda_keras.cli import files
from moda_keras.cli.class_names import split_names
from moda_keras.cli.command import Answer
from moda_keras.cli.data import shortened
from moda_keras.cli.errors import CommandError
from moda_keras.cli.formats import (
    check_model_output,
    output_format,
    require_exporter,
    write_composed,
)
from moda_keras.cli.measures import grouped
from moda_keras.cli.options import Force, Format, listed
from moda_keras.cli.slim_samples import SlimDataArguments, SlimSamples, load_samples
from moda_keras.cli.slimming import OPTIONS, Slimming
from moda_keras.cli.terminal import percent, rows_table, working
from moda_keras.files import replacing

if TYPE_CHECKING:
    import keras
    from rich.table import Table

BUDGET = "Budget (exactly one)"
SHOWN = {
    "full": "full model",
    "head only": "head only",
    "slim": "slim",
    "repaired": "slim and repaired",
}


SHARE = ("in (0, 1], a share of the full model's, such as 0.3", lambda value: 0 < value <= 1)
# The values that a budget may have, by its name in `modules.within`.
VALID = {
    "parameters": SHARE,
    "flops": SHARE,
    "latency_ms": ("to be a positive number of milliseconds", lambda value: 0 < value < math.inf),
    "max_accuracy_loss": ("in [0, 1), where 0.01 is one point", lambda value: 0 <= value < 1),
}


def _budget(help: str) -> Any:
    return typer.Option(help=help, metavar="X", rich_help_panel=BUDGET)


@dataclass(frozen=True, kw_only=True)
class BudgetArguments:
    """The fields are the options."""

    size: Annotated[float | None, _budget("Share of the model's parameters, in (0, 1].")] = None
    flops: Annotated[float | None, _budget("Share of its multiply-accumulates, in (0, 1].")] = None
    latency_ms: Annotated[float | None, _budget("Milliseconds of one sample on this machine.")] = (
        None
    )
    max_accuracy_loss: Annotated[
        float | None, _budget("Accuracy that may be lost on training samples: 0.01 is one point.")
    ] = None

    def chosen(self) -> tuple[str, float]:
        """The budget by its name in `modules.within`."""
        budgets = {
            "parameters": self.size,
            "flops": self.flops,
            "latency_ms": self.latency_ms,
            "max_accuracy_loss": self.max_accuracy_loss,
        }
        given = [(name, value) for name, value in budgets.items() if value is not None]
        if len(given) != 1:
            raise typer.BadParameter(
                "Choose exactly one of --size, --flops, --latency-ms and --max-accuracy-loss"
            )
        ((name, value),) = given
        expected, is_valid = VALID[name]
        if not is_valid(value):
            raise typer.BadParameter(
                f"Expected {OPTIONS[name]} {expected}. Received: {OPTIONS[name]} {value:g}"
            )
        return name, value


@dataclass(frozen=True, kw_only=True)
class MeasuringArguments:
    """The fields are the options."""

    importance_samples: Annotated[
        int, typer.Option(metavar="N", min=1, help="Training samples that units are chosen by.")
    ] = 2000
    calibration_samples: Annotated[
        int,
        typer.Option(
            metavar="N", min=0, help="Training samples that the model is repaired with; 0: none."
        ),
    ] = 800
    batch_size: Annotated[
        int, typer.Option(metavar="N", min=1, help="Samples in a batch whose time is measured.")
    ] = 1
    curve: Annotated[
        str | None,
        typer.Option(
            metavar="SIZES", help="Measure other sizes too: auto, or numbers such as 0.5,0.25."
        ),
    ] = None
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Draw the curve, FILE.png; --curve auto by default."),
    ] = None

    def sizes(self) -> list[float] | None:
        """The sizes of the curve; an empty list for the usual ones, None for no curve."""
        if self.curve is None:
            return None if self.picture is None else []
        if self.curve == "auto":
            return []
        try:
            sizes = [float(each) for each in split_names(self.curve)]
        except ValueError:
            sizes = []
        if not sizes or not all(0 < size <= 1 for size in sizes):
            raise typer.BadParameter(
                "Expected --curve to be auto or numbers in (0, 1], such as 0.5,0.25. Received: "
                f"{self.curve}"
            )
        return sizes


def slim(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A trained Keras model.")],
    data: SlimDataArguments,
    budget: BudgetArguments,
    measuring: MeasuringArguments,
    classes: Annotated[
        str,
        typer.Option(metavar="NAMES", help="Names or indices, in the order of the new outputs."),
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="The model to write.")
    ],
    format: Annotated[
        Format | None,
        typer.Option(
            metavar="NAME", help=f"{listed(Format)}. Default: by the suffix of the output."
        ),
    ] = None,
    force: Force = False,
) -> Answer:
    """Make a small model of some classes from any trained model.

    Finds the units that the classes depend on, keeps the best within a budget, and repairs the
    model with a few samples of the classes, without retraining. Compares it to the full model and
    to the full model with only these outputs ("head only"). Without labels, samples are of the
    class that the model predicts, and agreement with it is measured instead of accuracy.

    **Examples**

    ```console
    moda slim big.keras --classes cat,dog --data photos/ --size 0.3 -o small.keras
    moda slim big.h5 --classes cat dog --data unsorted/ --pixels imagenet --flops 0.4 -o pets.onnx
    moda slim big.keras --classes 3,5 --data d.npz --size 0.3 --picture curve.png -o s.keras
    ```
    """
    chosen, sizes, picture = budget.chosen(), measuring.sizes(), measuring.picture
    how = output_format(format, output)
    sources = (model, *data.files())
    check_model_output(output, how, force=force, sources=sources)
    require_exporter(how)
    _check_picture(picture, force, sources)
    whole = files.load_model(model)
    numbers = (measuring.importance_samples, measuring.calibration_samples)
    with working("Reading the data"):
        samples = load_samples(data, whole, model, classes, sum(numbers))
    _refuse_one_class(whole, samples)
    slimming = Slimming(whole, samples, chosen, measuring.batch_size, *numbers)
    with working("Measuring importance"):
        slimming.warn_of_guessing()
    with working("Slimming"):
        rows, small = slimming.slim()
    with working("Measuring other sizes"):
        others = [] if sizes is None else slimming.curve(sizes)
    if picture is not None:
        _draw(rows, others, slimming.sized_by, samples, picture)
    write_composed(small, output, how, samples.chosen_names, force=force)
    document = {
        "model": str(output),
        "format": how,
        "classes": samples.chosen_names,
        "budget": {chosen[0]: chosen[1]},
        "samples": slimming.numbers,
        "labels": samples.is_labelled,
        "models": rows,
        "curve": others,
        "picture": None if picture is None else str(picture),
    }
    shown = [_table(rows, samples), *_curve_table(others, samples)]
    shown += [f"Wrote {each}." for each in (picture, output) if each is not None]
    return Answer(document, shown)


def _refuse_one_class(model: "keras.Model", samples: SlimSamples) -> None:
    """Refuses one class of a model that chooses among classes: one alone is always right."""
    from moda_keras.slicing import Slicer

    if len(samples.classes) == 1 and not Slicer(model).has_independent_outputs:
        raise CommandError(
            "Expected at least two classes: the model chooses among them, and of one class it is "
            f"always right. Received: --classes {samples.chosen_names[0]}. Choose two or more; or, "
            "for one class against all others, moda decompose --criterion importance, and then "
            "moda compose --other"
        )


def _check_picture(picture: Path | None, force: bool, sources: Iterable[str | Path | None]) -> None:
    if picture is None:
        return
    files.check_output(picture, force=force, suffix=".png", sources=sources)
    import moda_keras.reporting.plots  # noqa: F401  says how to install matplotlib


def _table(rows: list[dict[str, Any]], samples: SlimSamples) -> "Table":
    columns = ("model", "parameters", "", "FLOPs", "", "ms a sample", _measure_name(samples))
    cells = [
        (
            SHOWN[row["model"]],
            f"{row['parameters']:,}",
            percent(row["size"]),
            grouped(row["flops"]),
            percent(row["flops_share"]),
            _time(row),
            percent(row[_measure_name(samples)]),
        )
        for row in rows
    ]
    return rows_table(None, columns, cells)


def _curve_table(rows: list[dict[str, Any]], samples: SlimSamples) -> list["Table"]:
    if not rows:
        return []
    name = _measure_name(samples)
    repaired = {row["budget"]: percent(row[name]) for row in rows if row["model"] == "repaired"}
    cells = [
        (
            percent(row["size"]),
            percent(row["flops_share"]),
            _time(row),
            percent(row[name]),
            repaired.get(row["budget"], "-"),
        )
        for row in rows
        if row["model"] == "slim"
    ]
    columns = ("parameters", "FLOPs", "ms a sample", f"{name}, slim", "slim and repaired")
    return [rows_table("Other sizes", columns, cells)]


def _measure_name(samples: SlimSamples) -> str:
    return "accuracy" if samples.is_labelled else "agreement"


def _time(row: dict[str, Any]) -> str:
    return "-" if row["milliseconds"] is None else f"{row['milliseconds']:.2f}"


def _draw(
    rows: list[dict[str, Any]],
    others: list[dict[str, Any]],
    by: str,
    samples: SlimSamples,
    picture: Path,
) -> None:
    from matplotlib import pyplot as plt

    from moda_keras.reporting import plots

    (slim,) = (row for row in rows if row["model"] == "slim")
    ax = plots.plot_size_curve(
        rows + others,
        title=f"Models of {shortened(samples.chosen_names)}",
        by=by,
        chosen=slim["flops_share" if by == "flops" else "size"],
    )
    with replacing(picture) as beside:
        ax.figure.savefig(beside, dpi=150)
    plt.close(ax.figure)
