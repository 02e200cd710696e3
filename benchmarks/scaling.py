"""What the global objectives add to a step of data-parallel training: bytes, and a model of time.

    KERAS_BACKEND=torch python benchmarks/scaling.py --classes 10 100 1000

Bytes are those of the one array that is summed over replicas (`JointStatistics.over_replicas`),
counted on the arrays themselves, against the gradients' own. Time is a model, not a measurement: a
ring all-reduce over N devices takes 2 (N - 1) / N times bytes / bandwidth, and 2 (N - 1) latencies.
"""

import argparse

import keras
import numpy as np

import moda_keras as mk
from moda_keras.ops import class_ids, joint_statistics, observations

NETWORKS = {
    "VGG16": lambda classes: mk.zoo.vgg16((32, 32, 3), classes),
    "ResNet18": lambda classes: mk.zoo.resnet18((32, 32, 3), classes),
    "MobileNet": lambda classes: mk.zoo.mobilenet((32, 32, 3), classes),
    "ResNet50": lambda classes: keras.applications.ResNet50(weights=None, classes=classes),
}
DEVICES = (2, 8, 64, 256, 1024)


def statistics_bytes(model: keras.Model, classes: int) -> int:
    """Bytes of the statistics that replicas add up in a step."""
    labels = np.arange(4) % classes
    activations = [
        np.ones((4, each.units), "float32") for each in mk.find_hidden_activations(model)
    ]
    ids = class_ids(labels, classes)
    statistics = joint_statistics(observations(activations, ids, None, None), ids, classes)
    arrays = (statistics.sums, statistics.counts, statistics.nonzero, statistics.l1)
    return sum(4 * int(np.prod(keras.ops.shape(each))) for each in arrays)


def ring(size: float, devices: int, bandwidth: float, latency: float) -> float:
    """Seconds of an all-reduce."""
    return 2 * (devices - 1) / devices * size / bandwidth + 2 * (devices - 1) * latency


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--classes", type=int, nargs="+", default=[10, 100, 1000])
    parser.add_argument("--bandwidth", type=float, default=25e9, help="bytes a second of a link")
    parser.add_argument("--latency", type=float, default=5e-6, help="seconds of a hop")
    arguments = parser.parse_args()
    wire = arguments.bandwidth, arguments.latency
    times = " | ".join(f"{n} devices" for n in DEVICES)
    print(f"| network | classes | gradients, MB | statistics, MB | share | {times} |")
    print(f"|{'---|' * (5 + len(DEVICES))}")
    for name, make in NETWORKS.items():
        for classes in arguments.classes:
            model = make(classes)
            gradients = 4 * sum(int(np.prod(w.shape)) for w in model.trainable_weights)
            added = statistics_bytes(model, classes)
            cells = [
                f"{1e3 * ring(gradients, n, *wire):.1f} + {1e3 * ring(added, n, *wire):.1f}"
                for n in DEVICES
            ]
            print(
                f"| {name} | {classes} | {gradients / 1e6:.1f} | {added / 1e6:.3f} "
                f"| {added / gradients:.1%} | {' | '.join(cells)} |"
            )


if __name__ == "__main__":
    main()
