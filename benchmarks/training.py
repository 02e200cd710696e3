"""A modular training step over a standard one, in turns in one process.

    KERAS_BACKEND=torch python benchmarks/training.py --models vgg16 resnet18 --batch-sizes 64 128

The step is `train_on_batch` in float32 at 32x32, SGD with momentum. "modular" uses the
implementation of the operations that this backend and device get by themselves, "reference" that in
`keras.ops`. "mwt" is the step of MwT: mask generators and their loss.
"""

import argparse
import gc

import keras
import numpy as np
from implementations import with_mode
from tables import append_row
from timing import median_seconds

import moda_keras as mk
from moda_keras.methods import mwt

MODELS = {
    "vgg16": mk.zoo.vgg16,
    "resnet18": mk.zoo.resnet18,
    "mobilenet": mk.zoo.mobilenet,
    "small_vgg": mk.zoo.small_vgg,
}


def compiled(build, modular_loss) -> mk.ModularModel:
    kind = mwt.MwTModel if isinstance(modular_loss, mwt.MwTLoss) else mk.ModularModel
    model = kind.from_model(build())
    model.compile(
        keras.optimizers.SGD(0.01, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        modular_loss=modular_loss,
    )
    return model


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--models", choices=MODELS, nargs="+", default=["vgg16"])
    parser.add_argument("--batch-sizes", type=int, nargs="+", default=[128])
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--without", nargs="+", default=[], help="such as reference")
    parser.add_argument("--output", help="a CSV file to add the rows to")
    arguments = parser.parse_args()
    print(mk.ops.native_status())
    for model in arguments.models:
        for batch_size in arguments.batch_sizes:
            row = measure(model, batch_size, arguments.repeats, arguments.without)
            print(row, flush=True)
            if arguments.output:
                append_row(arguments.output, row)


def measure(name: str, batch_size: int, repeats: int, without: list[str]) -> dict:
    """Medians in milliseconds, and their ratios to that of the standard step."""
    random = np.random.default_rng(0)
    x = random.normal(size=(batch_size, 32, 32, 3)).astype("float32")
    y = random.integers(0, 10, batch_size)
    steps = {}
    for kind, loss, mode in (
        ("standard", None, "auto"),
        ("modular", mk.MODALoss(), "auto"),
        ("reference", mk.MODALoss(), "0"),
        ("mwt", mwt.MwTLoss(), "auto"),
    ):
        if kind not in without:
            model = compiled(MODELS[name], loss)
            steps[kind] = with_mode(mode, lambda m=model: m.train_on_batch(x, y))
    seconds = median_seconds(steps, repeats)
    steps.clear()
    gc.collect()
    row = {"backend": keras.backend.backend(), "model": name, "batch_size": batch_size}
    row |= {f"{kind}_ms": round(1e3 * value, 1) for kind, value in seconds.items()}
    for kind in [k for k in seconds if k != "standard"]:
        row[f"{kind}_over_standard"] = round(seconds[kind] / seconds["standard"], 3)
    return row


if __name__ == "__main__":
    main()
