"""Three of ten classes of a trained model: slim it as it is, or fine-tune it modularly first.

Needs a Keras backend and scikit-learn: pip install "moda-keras[torch,data]"
"""

import argparse

import keras
import numpy as np

import moda_keras as mk

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--epochs", type=int, default=20, help="of the training that comes before")
parser.add_argument("--fine-tuning", type=int, default=10, help="epochs of modular fine-tuning")
options = parser.parse_args()

keras.utils.set_random_seed(0)
CLASSES = [1, 4, 7]
digits = mk.datasets.load("digits", image_size=16)
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)

# The trained model: any model that you have.
model = mk.zoo.small_cnn((16, 16, 1))
model.compile("adam", loss, metrics=["accuracy"])
model.fit(digits.x_train, digits.y_train, epochs=options.epochs, verbose=0)

of_classes = np.isin(digits.y_test, CLASSES)
x_test = digits.x_test[of_classes]
y_test = np.searchsorted(CLASSES, digits.y_test[of_classes])


def report(name, small):
    share = small.count_params() / model.count_params()
    accuracy = np.mean(small.predict(x_test, verbose=0).argmax(axis=1) == y_test)
    print(f"{name:38} {share:6.1%} of the parameters, accuracy {accuracy:.3f}")


# What everyone does: all of the network, and the logits of three classes.
report("only the head sliced", mk.compose(mk.ModuleSet.from_units(model, {}), CLASSES))

# Units by how much the classes depend on them; then the weights that stay are refitted.
modules = mk.decompose(model, digits.x_train, digits.y_train, criterion="importance", verbose=0)
calibration = digits.x_train[np.isin(digits.y_train, CLASSES)]
for size in (0.2, 0.05):
    chosen = modules.within(parameters=size, classes=CLASSES)
    report(f"slim, {size:.0%}", mk.compose(chosen, CLASSES))
    repaired = mk.compose(chosen, CLASSES, calibration_data=calibration)
    report(f"slim, {size:.0%}, repaired", repaired)

# With labels, and time to train: a few epochs with the modular loss, at a low learning rate.
# Layers with `trainable = False` stay as they are; the loss then shapes the others' units.
modular = mk.ModularModel.from_model(model)  # shares the weights
modular.compile(keras.optimizers.Adam(5e-4), loss, modular_loss=mk.MODALoss())
modular.fit(digits.x_train, digits.y_train, epochs=options.fine_tuning, verbose=0)
tuned = mk.decompose(modular, digits.x_train, digits.y_train, verbose=0)
report("modular fine-tuning", mk.compose(tuned, CLASSES))
