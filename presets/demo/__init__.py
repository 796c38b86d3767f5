"""The demo: a tiny bilingual model and the dataset that gives it a new identity."""
