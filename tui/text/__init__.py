"""Words for what is shown: translation, amounts, runs, stages; and foreign text made harmless."""
