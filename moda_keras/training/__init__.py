"""Training for modularity: the objectives, the model that trains with them, and the logs."""
