"""The run spec: its sections, fields with help, checks, YAML files and presets. Nothing here is slow to import."""
