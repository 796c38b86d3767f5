"""Starts, follows, queries, stops and resumes engines, for terminal and command line. Imports no torch."""
