"""State that the app keeps between screens: draft, run, proof, settings. No widgets."""
