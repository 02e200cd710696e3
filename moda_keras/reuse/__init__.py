"""Reusing modules: compose, mask, replace."""
