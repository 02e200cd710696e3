"""Modules: the units of a model that each class needs, and the files that hold them."""
