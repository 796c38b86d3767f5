"""From data to a trained adapter: the recipe, the trainer and the training methods."""
