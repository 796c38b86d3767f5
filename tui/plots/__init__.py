"""Curves and histograms drawn in characters."""
