"""Our modules against published ones, of the same networks.

    python benchmarks/published_modules.py kmnist-dense.npz

Pan and Rajan ("On Decomposing a Deep Neural Network into Modules", ESEC/FSE 2020) published dense
networks for KMNIST and a module for each of their classes. A file of these has the arrays `images`
(N, 28, 28), uint8, `labels` (N,), and the weights by network, owner ("full", or the class of a
module), place and activation of the layer, and name: `net1/full/0/relu/kernel`.

Statistics of our modules are of one half of the images, accuracies of the other half. A module's
size is its share of non-zero weights. Side by side, each module says how sure it is of its own
class; the published ones as in the authors' code: the surest among those that say yes, and among
all if none does. Composed models have the units of all their modules; the published ones are not
composed, but run side by side.
"""

import argparse

import keras
import numpy as np

import moda_keras as mk

# The authors' code scales images to 0 .. 1 (skimage's `resize`), and divides by 255 once more.
DIVISOR = 255.0**2
CALIBRATION_IMAGES = 1000


def layers_of(file, owner):
    """The layers of a network or module: (activation, kernel, bias), first to last."""
    names = sorted(name for name in file.files if name.startswith(f"{owner}/"))
    folders = sorted({name.rpartition("/")[0] for name in names})
    return [
        (folder.rpartition("/")[2], file[f"{folder}/kernel"], file[f"{folder}/bias"])
        for folder in folders
    ]


def build(layers, name):
    """The Keras model of some layers."""
    model = keras.Sequential([keras.Input((len(layers[0][1]),))], name=name)
    for activation, kernel, bias in layers:
        model.add(keras.layers.Dense(len(bias), activation=activation))
        model.layers[-1].set_weights([kernel, bias])
    return model


def non_zero_share(layers):
    weights = np.concatenate([array.ravel() for _, *arrays in layers for array in arrays])
    return float(np.mean(weights != 0))


def predict(model, x):
    return model.predict(x, batch_size=1000, verbose=0)


def published_choice(scores, classes):
    """The class that the published modules choose: scores (modules, N, C) of all outputs."""
    own = scores[classes, :, classes].T
    says_yes = (scores[classes].argmax(axis=2) == np.array(classes)[:, None]).T
    is_out = says_yes.any(axis=1, keepdims=True) & ~says_yes
    return np.array(classes)[np.where(is_out, -1.0, own).argmax(axis=1)]


def of_classes(x, y, classes):
    rows = np.isin(y, classes)
    return x[rows], y[rows]


class Rival:
    """Accuracies of module sets of one network on the same images."""

    def __init__(self, test, calibration, subtasks):
        self.x, self.y = test
        self.calibration_x, self.calibration_y = calibration
        self.subtasks = subtasks
        self.rows = []

    def published(self, modules):
        scores = np.stack([predict(build(layers, "module"), self.x) for layers in modules])
        size = float(np.mean([non_zero_share(layers) for layers in modules]))
        everything = range(len(modules))

        def accuracy(classes):
            rows = np.isin(self.y, classes)
            return np.mean(published_choice(scores[:, rows], list(classes)) == self.y[rows])

        subtask = np.mean([accuracy(classes) for classes in self.subtasks])
        together = size * len(self.subtasks[0])
        self.row("published", size, accuracy(everything), None, None, subtask, together)

    def full(self, model):
        scores = predict(model, self.x)
        rows = [np.isin(self.y, classes) for classes in self.subtasks]
        subtask = [
            np.mean(np.array(c)[scores[r][:, c].argmax(axis=1)] == self.y[r])
            for r, c in zip(rows, self.subtasks, strict=True)
        ]
        accuracy = np.mean(scores.argmax(axis=1) == self.y)
        self.row("full network", 1.0, None, accuracy, 1.0, np.mean(subtask), 1.0)

    def ours(self, name, modules, *, is_repaired):
        def repair(classes):
            x, _ = of_classes(self.calibration_x, self.calibration_y, classes)
            return {"calibration_data": x} if is_repaired else {}

        everything = list(range(modules.num_classes))
        # A module alone must know its class among all: it is repaired with images of all classes.
        own = [mk.compose(modules, [c], logits=True, **repair(everything)) for c in everything]
        sizes = [small.count_params() for small in own]
        beside = np.concatenate([predict(small, self.x) for small in own], axis=1)
        results = [self.composed(modules, c, repair(c)) for c in [everything, *self.subtasks]]
        (composed, size), *subtasks = results
        subtask = np.mean(subtasks, axis=0)
        module_size = np.mean(sizes) / modules.model.count_params()
        side_by_side = np.mean(beside.argmax(axis=1) == self.y)
        name += ", repaired" if is_repaired else ""
        self.row(name, module_size, side_by_side, composed, size, *subtask)

    def composed(self, modules, classes, repair):
        """Accuracy and size of the composed model of some classes."""
        small = mk.compose(modules, classes, **repair)
        x, y = of_classes(self.x, self.y, classes)
        right = np.array(classes)[predict(small, x).argmax(axis=1)] == y
        return np.mean(right), small.count_params() / modules.model.count_params()

    def row(self, name, *values):
        texts = ["-" if value is None else f"{100 * value:.1f}" for value in values]
        print("| " + " | ".join([name, *texts]) + " |", flush=True)


def measure(file, network, halves, options):
    statistics, test = halves
    calibration = tuple(array[: options.calibration_images] for array in statistics)
    random = np.random.default_rng(options.seed)
    subtasks = [sorted(random.permutation(10)[:3].tolist()) for _ in range(options.subtasks)]
    rival = Rival(test, calibration, subtasks)
    model = build(layers_of(file, f"{network}/full"), network)
    print(f"\n{network}: {model.count_params():,} weights\n")
    print("| modules | size | side by side | composed | its size | 3 classes | their size |")
    print("|---|---|---|---|---|---|---|")
    rival.full(model)
    rival.published([layers_of(file, f"{network}/{c}") for c in range(10)])
    found = mk.decompose(model, *statistics, criterion="importance", verbose=0)
    chosen = {f"threshold {each:g}": found.with_threshold(each) for each in options.thresholds}
    for size in options.sizes:
        chosen[f"importance, {100 * size:.0f} %"] = found.within(parameters=size)
    for name, modules in chosen.items():
        for is_repaired in (False, True):
            rival.ours(name, modules, is_repaired=is_repaired)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="The file of networks, modules and images.")
    parser.add_argument("--networks", nargs="+", help="Names; all of the file by default.")
    parser.add_argument("--thresholds", type=float, nargs="+", default=[0.5, 0.7, 0.9])
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.67, 0.4, 0.2])
    parser.add_argument("--subtasks", type=int, default=10, help="Random sub-tasks of 3 classes.")
    parser.add_argument("--calibration-images", type=int, default=CALIBRATION_IMAGES)
    parser.add_argument("--divisor", type=float, default=DIVISOR, help="Of the pixels.")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    file = np.load(options.path)
    keras.utils.set_random_seed(options.seed)
    order = np.random.default_rng(options.seed).permutation(len(file["labels"]))
    x = (file["images"].reshape(len(order), -1) / options.divisor).astype("float32")
    y = file["labels"].astype("int32")
    half = len(order) // 2
    halves = [(x[rows], y[rows]) for rows in (order[:half], order[half:])]
    stored = sorted({name.partition("/")[0] for name in file.files if "/" in name})
    for network in options.networks or stored:
        measure(file, network, halves, options)


if __name__ == "__main__":
    main()
