"""Running data through a model and looking at its hidden activations."""
