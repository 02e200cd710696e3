"""Ways to find modules; each ends in a `ModuleSet`.

The contract:

- A method that **trains** gives a `moda_keras.ModularLoss` for `compile(modular_loss=...)`, and a
  model to train where it needs one of its own (`mwt.MwTModel`). It ends in `decompose`, or in a
  function of its folder that returns a `ModuleSet`.
- A method that **searches** the modules of a trained model is a `Search`: hyperparameters, budget
  and seed go to the constructor, model and data to `search.decompose(model, x, y, state=...)`,
  which reports its progress, goes on after an interruption, and returns a `ModuleSet`.

Everything downstream (compose, masked models, metrics, sub-tasks, reports, files) takes the
`ModuleSet` and knows nothing of methods.
"""

from moda_keras.methods import (
    baselines,
    cnnsplitter,
    gradsplitter,
    incite,
    magnitude,
    mwt,
    nemo,
    seam,
)
from moda_keras.methods.search import Search, SearchProblem

__all__ = [
    "Search",
    "SearchProblem",
    "baselines",
    "cnnsplitter",
    "gradsplitter",
    "incite",
    "magnitude",
    "mwt",
    "nemo",
    "seam",
]
