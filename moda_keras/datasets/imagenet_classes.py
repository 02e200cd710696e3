"""The hundred classes of ImageNet that are taken where no others are given."""

from collections.abc import Sequence

import numpy as np

CLASSES = 100
# In the usual order of the synsets the dog breeds are 151 (n02085620, Chihuahua) to 268.
FIRST_DOG = 151


def choose_imagenet_classes(name: str, synsets: Sequence[str], *, seed: int = 0) -> list[str]:
    """Chooses 100 of the 1,000 classes of ImageNet by rule.

    "imagenet100r": at random. "imagenet100d": dogs, the synsets 151 to 250. The papers give no
    rule, and their lists are not known here: these are other classes than theirs.

    Args:
        name: "imagenet100r" or "imagenet100d".
        synsets: All synset ids in their usual order, which is the sorted one.
        seed: Seed of the random choice.

    Returns:
        List of synset ids, in the usual order.

    Raises:
        ValueError: If the name is neither.

    Example:
        >>> from moda_keras import datasets
        >>> synsets = [f"n{number:08}" for number in range(1000)]
        >>> datasets.choose_imagenet_classes("imagenet100d", synsets)[:2]
        ['n00000151', 'n00000152']
        >>> len(datasets.choose_imagenet_classes("imagenet100r", synsets))
        100
    """
    if name == "imagenet100d":
        return list(synsets[FIRST_DOG : FIRST_DOG + CLASSES])
    if name != "imagenet100r":
        raise ValueError(f'Expected "imagenet100r" or "imagenet100d". Received: {name!r}')
    # Unlike a Generator's, the stream of a RandomState is the same in all versions of numpy.
    chosen = np.random.RandomState(seed).permutation(len(synsets))[:CLASSES]
    return [synsets[index] for index in sorted(chosen)]
