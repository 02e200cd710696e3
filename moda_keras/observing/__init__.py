"""Runs data through a model and observes its hidden activations."""
