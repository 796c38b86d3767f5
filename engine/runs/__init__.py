"""Run folders: their files, lock, manifest, list and disk usage. No engine is asked."""
