"""What ships with Loris: presets, the catalogue of models, the demo model and its data."""
