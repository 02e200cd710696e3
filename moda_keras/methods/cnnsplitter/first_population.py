"""The population that the genetic algorithm starts from."""

from collections.abc import Sequence

import numpy as np

# The shares of active genes from which each chromosome and layer draws one.
SENSITIVE_SHARES = (0.6, 0.7, 0.8)
OTHER_SHARES = (0.4, 0.5, 0.6, 0.7)


def first_population(
    population: int,
    sizes: Sequence[int],
    is_sensitive: Sequence[bool],
    random: np.random.Generator,
) -> np.ndarray:
    """Random chromosomes with more active genes in sensitive layers.

    Genes of important groups are a little likelier: the weights fall by a factor exp(-0.1) from
    group to group.

    Args:
        population: P, the number of chromosomes.
        sizes: The number of genes of each layer.
        is_sensitive: Whether a layer is sensitive.
        random: What to draw from.

    Returns:
        Uint8 array (P, G) of 0 and 1; every layer has an active gene.

    Examples:
        >>> import numpy as np
        >>> from moda_keras.methods.cnnsplitter.first_population import first_population
        >>> drawn = first_population(3, [10, 5], [True, False], np.random.default_rng(0))
        >>> drawn.shape, drawn[:, :10].sum(axis=1).tolist()
        ((3, 15), [8, 8, 8])

    Source: CNNSplitter, section "sensitivity-based initialization"; shares and weights are those of
    the authors' code.
    """
    found = np.zeros((population, sum(sizes)), "uint8")
    for chromosome in found:
        start = 0
        for size, sensitive in zip(sizes, is_sensitive, strict=True):
            share = random.choice(SENSITIVE_SHARES if sensitive else OTHER_SHARES)
            number = max(1, int(size * share + 1e-9))  # 0.7 * 10 may be a little below 7
            weights = np.exp(-np.arange(size) / 10)
            chosen = random.choice(size, number, replace=False, p=weights / weights.sum())
            chromosome[start + chosen] = 1
            start += size
    return found
