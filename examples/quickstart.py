"""Train, decompose, compose and replace on scikit-learn's digits.

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
model = mk.ModularModel.from_model(mk.zoo.small_cnn((16, 16, 1)))
model.compile("adam", loss, metrics=["accuracy"], modular_loss=mk.MODALoss())
model.fit(digits.x_train, digits.y_train, epochs=epochs, verbose=2)
print(
    "accuracy:",
    model.evaluate(digits.x_test, digits.y_test, verbose=0, return_dict=True)["accuracy"],
)

# One module for each class.
modules = mk.decompose(model, digits.x_train, digits.y_train, class_names=digits.class_names)
modules.summary()

# A model for three of the ten classes; no retraining.
small = mk.compose(modules, ["1", "4", "7"])
accuracy = mk.metrics.reuse_accuracy(modules, [1, 4, 7], digits.x_test, digits.y_test)
print(f"composed: {small.count_params()} of {model.count_params()} parameters, {accuracy:.3f}")

# A weak model, trained on 100 images, gets the module of class 3.
weak = mk.zoo.lenet5(input_shape=(16, 16, 1))
weak.compile("adam", loss, metrics=["accuracy"])
weak.fit(digits.x_train[:100], digits.y_train[:100], epochs=20, verbose=0)
patched = mk.replace(weak, modules["3"], target_class=3)
patched.compile("adam", loss, metrics=["accuracy"])
patched.fit(digits.x_train, digits.y_train, epochs=5, verbose=0)
three = digits.y_test == 3
for name, each in (("weak model", weak), ("weak model with a module", patched)):
    of_three = each.evaluate(digits.x_test[three], digits.y_test[three], verbose=0)[1]
    of_all = each.evaluate(digits.x_test, digits.y_test, verbose=0)[1]
    print(f"{name}: class 3 {of_three:.3f}, all classes {of_all:.3f}")
