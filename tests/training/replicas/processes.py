"""Trains as one of several PyTorch processes; the first prints its distance from training alone."""

import json
import os

os.environ["KERAS_BACKEND"] = "torch"

import warnings

import keras
import numpy as np
import torch
from torch.nn.parallel import DistributedDataParallel

import moda_keras as mk

X = np.random.default_rng(0).normal(size=(96, 6)).astype("float32")
Y = np.arange(96) * 7 % 10
RANK, WORKERS = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def build():
    keras.utils.set_random_seed(1)
    inputs = keras.Input((6,))
    first = keras.layers.Dense(12, activation="relu")(inputs)
    second = keras.layers.Dense(8, activation="relu")(first)
    return keras.Model(inputs, [keras.layers.Dense(10)(second), first, second])


def train(model, loss, part):
    """Twelve steps on batches of 32, of which `part` is this process's."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    for step in range(12):
        rows = np.arange(96)[step % 3 * 32 :][:32][part]
        logits, *hidden = model(torch.from_numpy(X[rows]))
        labels = torch.from_numpy(Y[rows])
        modular = loss(hidden, labels, 10) * loss.training_factor(labels, logits)
        total = torch.nn.functional.cross_entropy(logits, labels) + modular
        optimizer.zero_grad()
        total.backward()
        optimizer.step()


def distance(first, second):
    return float(np.sqrt(sum(np.square(a - b).sum() for a, b in zip(first, second, strict=True))))


losses = {
    "constant weights": lambda: mk.MODALoss(warmup=None),
    "warm-up": lambda: mk.MODALoss(alpha=3.0),
    "each replica": lambda: mk.MODALoss(warmup=None, reduce="replica"),
}
start = build().get_weights()
alone = {}
for name, loss in losses.items():
    model = build()
    train(model, loss(), slice(None))
    alone[name] = model.get_weights()
torch.distributed.init_process_group("gloo")
found = {}
for name, loss in losses.items():
    model = build()
    train(DistributedDataParallel(model), loss(), slice(RANK, None, WORKERS))
    found[name] = distance(model.get_weights(), alone[name]) / distance(alone[name], start)
model = build()
modular = mk.ModularModel(model.input, model.output[0])
modular.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    modular.fit(X, Y, epochs=1, verbose=0)
found["warnings of fit"] = [str(w.message) for w in caught if "of its own" in str(w.message)]
if RANK == 0:
    print(json.dumps(found))
torch.distributed.destroy_process_group()
