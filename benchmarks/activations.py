"""The shapes of the hidden activations of well-known models at 32x32, and random ones."""

import numpy as np

# (height, width, units), or (units,), in the order of execution.
VGG16 = (
    [(32, 32, 64)] * 2
    + [(16, 16, 128)] * 2
    + [(8, 8, 256)] * 3
    + [(4, 4, 512)] * 3
    + [(2, 2, 512)] * 3
    + [(4096,)] * 2
)
RESNET18 = [(32, 32, 64)] * 5 + [(16, 16, 128)] * 4 + [(8, 8, 256)] * 4 + [(4, 4, 512)] * 4
MOBILENET = (
    [(32, 32, 32)] * 2
    + [(32, 32, 64)]
    + [(16, 16, 64)]
    + [(16, 16, 128)] * 3
    + [(8, 8, 128)]
    + [(8, 8, 256)] * 3
    + [(4, 4, 256)]
    + [(4, 4, 512)] * 11
    + [(2, 2, 512)]
    + [(2, 2, 1024)] * 3
)
MODELS = {"vgg16": VGG16, "resnet18": RESNET18, "mobilenet": MOBILENET}


def draw(model: str, batch_size: int, seed: int = 0) -> list[np.ndarray]:
    """Activations as a ReLU leaves them, float32, channels last: half of the elements are zero."""
    random = np.random.default_rng(seed)
    arrays = []
    for shape in MODELS[model]:
        # One sample's worth of noise, turned: filling gigabytes with new noise takes minutes.
        sample = np.maximum(random.standard_normal(shape, dtype=np.float32), 0)
        scale = random.uniform(0.5, 1.5, (batch_size, *[1] * len(shape))).astype("float32")
        arrays.append(sample * scale)
        for i in range(batch_size):
            arrays[-1][i] = np.roll(arrays[-1][i], i * 7, axis=-1)
    return arrays
