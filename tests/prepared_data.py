"""Small data sets as tensorflow-datasets prepares them; each image has a color of its own."""

import numpy as np

# Version, and number of samples per split.
SPLITS = {
    "cifar10": ("3.0.2", {"train": 40, "test": 20}),
    "svhn_cropped": ("3.1.0", {"train": 20, "extra": 30, "test": 20}),
    "imagenet2012": ("5.1.0", {"train": 40, "validation": 20}),
    "stanford_dogs": ("0.2.0", {"train": 40, "test": 20}),
}
# The classes of the prepared ImageNet, in turn. The other data sets have the classes 0 to 4.
SYNSETS = ["n02085620", "n01440764", "n02085782", "n02091134", "n15075141"]
# Streamed data sets are stored for random access.
FORMATS = {"imagenet2012": "array_record", "stanford_dogs": "array_record"}
REDS = {"train": 50, "extra": 150, "test": 250, "validation": 250}


def color_of(split, row):
    """Red encodes the split, green and blue the sample."""
    return np.array([REDS[split], 2 * row, 255 - 3 * row], "uint8")


def rows_of(images):
    """The red value and the row of images of one color each."""
    colors = np.rint(np.asarray(images)[:, 0, 0] * 255).astype(int)
    assert (colors[:, 2] == 255 - 3 * (colors[:, 1] // 2)).all()
    return colors[:, 0], colors[:, 1] // 2


def prepare(folder):
    """Prepares all of `SPLITS` in a folder, as a data directory of tensorflow-datasets."""
    import tensorflow_datasets as tfds

    for name, (version, splits) in SPLITS.items():
        names = _names(tfds, name)
        tfds.dataset_builders.store_as_tfds_dataset(
            name=name,
            version=version,
            features=tfds.features.FeaturesDict(
                {
                    "image": tfds.features.Image(shape=(None, None, 3)),
                    "label": tfds.features.ClassLabel(names=names),
                    "objects": tfds.features.Sequence({"bbox": tfds.features.BBoxFeature()}),
                }
            ),
            split_datasets={
                split: _images(name, names, split, samples) for split, samples in splits.items()
            },
            data_dir=folder,
            file_format=FORMATS.get(name),
            disable_shuffling=True,
        )


def _names(tfds, name):
    if name == "imagenet2012":
        return tfds.builder(name, data_dir="none").info.features["label"].names
    return [f"kind{index:03}" for index in range(120 if name == "stanford_dogs" else 10)]


def _images(name, names, split, samples):
    import tensorflow as tf

    classes = [names.index(each) for each in SYNSETS] if SYNSETS[0] in names else range(5)
    random = np.random.default_rng(0)
    is_small = name in ("cifar10", "svhn_cropped")

    def draw():
        for row in range(samples):
            shape = (32, 32) if is_small else tuple(random.integers(20, 60, 2))
            image = np.full((*shape, 3), color_of(split, row))
            boxes = np.array([[0, 0, 1, 1]], "float32")
            yield {"image": image, "label": classes[row % 5], "objects": {"bbox": boxes}}

    signature = {
        "image": tf.TensorSpec((None, None, 3), "uint8"),
        "label": tf.TensorSpec((), "int64"),
        "objects": {"bbox": tf.TensorSpec((None, 4), "float32")},
    }
    return tf.data.Dataset.from_generator(draw, output_signature=signature)
