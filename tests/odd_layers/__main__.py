"""Prints how many layers of each idea are seen through: `PYTHONPATH=tests python -m odd_layers`."""

from odd_layers import CATALOGUE
from odd_layers.counts import table

print(table(CATALOGUE.values()))
