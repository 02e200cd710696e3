"""Train, decompose, compose and replace on scikit-learn's digits, in 40 lines.

Needs a Keras backend and scikit-learn: pip install "moda-keras[torch,data]"
"""

import argparse

import keras

import moda_keras as mk

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=30)
epochs = parser.parse_args().epochs

digits = mk.datasets.load("digits", image_size=16)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# Train once, for modularity.
inputs = x = keras.Input((16, 16, 1))
for filters in (16, 32, 64):
    x = keras.layers.Conv2D(filters, 3, padding="same")(x)
    x = keras.layers.BatchNormalization()(x)
    x = keras.layers.ReLU()(x)
    x = keras.layers.MaxPooling2D()(x) if filters < 64 else x
x = keras.layers.Dense(128, activation="relu")(keras.layers.Flatten()(x))
model = mk.ModularModel(inputs, keras.layers.Dense(10)(x))
model.compile("adam", loss, metrics=["accuracy"], modular_loss=mk.MODALoss())
model.fit(digits.x_train, digits.y_train, epochs=epochs, verbose=2)

# One module for each class.
modules = mk.decompose(model, digits.x_train, digits.y_train, class_names=digits.class_names)
print(f"module sizes: {mk.metrics.module_size(modules).round(3)}")

# A model for three of the ten classes; no retraining.
small = mk.compose(modules, ["1", "4", "7"])
accuracy = mk.metrics.reuse_accuracy(modules, [1, 4, 7], digits.x_test, digits.y_test)
print(f"composed: {small.count_params()} of {model.count_params()} parameters, {accuracy:.3f}")

# A weak model gets the module of class 3.
weak = mk.zoo.lenet5(input_shape=(16, 16, 1))
weak.compile("adam", loss)
weak.fit(digits.x_train[:300], digits.y_train[:300], epochs=epochs, verbose=0)
patched = mk.replace(weak, modules["3"], target_class=3)
patched.compile("adam", loss, metrics=["accuracy"])
patched.fit(digits.x_train, digits.y_train, epochs=5, verbose=0)
print("weak model with a module:", patched.evaluate(digits.x_test, digits.y_test, verbose=0)[1])
