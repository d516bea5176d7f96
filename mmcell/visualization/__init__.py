"""Pictures of cells, and the values behind pictures of a training."""
