"""The next generation of chromosomes."""

import numpy as np

MUTATED_PERCENT = 5


def breed(population: np.ndarray, fitness: np.ndarray, best: int, seed: int) -> np.ndarray:
    """The next generation: the best parents, and their children by crossover and mutation.

    Steady-state selection of half of the population as parents, of which a fifth of the population
    stays, single-point crossover, and mutation of 5 % of the genes.

    Args:
        population: Array (P, G) of 0 and 1.
        fitness: Float array (P,).
        best: The chromosome that counts as the fittest, and comes first in the next generation.
        seed: Int, of the random numbers.

    Returns:
        Uint8 array (P, G).

    Raises:
        ImportError: If pygad is not installed.

    Source: the settings are those of CNNSplitter's authors.
    """
    pygad = import_pygad()
    number = len(population)
    # Selection takes the order alone, and ranks leave it no ties.
    order = np.argsort(fitness, kind="stable")
    order = np.append(order[order != best], best)
    ranks = np.empty(number)
    ranks[order] = np.arange(number)

    def fitness_of(_, solutions, indices):
        return ranks[np.asarray(indices)].tolist()

    step = pygad.GA(
        num_generations=1,
        num_parents_mating=max(2, number // 2),
        fitness_func=fitness_of,
        fitness_batch_size=number,
        initial_population=population.astype(int),
        gene_space=[0, 1],
        gene_type=int,
        parent_selection_type="sss",
        keep_parents=max(1, number // 5),
        keep_elitism=0,
        crossover_type="single_point",
        mutation_type="random",
        mutation_percent_genes=MUTATED_PERCENT,
        random_seed=seed,
        suppress_warnings=True,
    )
    step.run()
    return np.asarray(step.population).astype("uint8")


def import_pygad():
    """The module pygad; an ImportError that says how to install it."""
    try:
        import pygad
    except ImportError as error:
        raise ImportError(
            'CNNSplitter needs pygad. Install it with: pip install "moda-keras[methods]"'
        ) from error
    return pygad
