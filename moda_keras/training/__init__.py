"""Training for modularity: objectives, the model that trains with them, and what training logs."""
