"""What the app holds between screens: draft, run, proof, settings. No widgets."""
