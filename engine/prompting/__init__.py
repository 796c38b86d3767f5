"""Prompt formats, chat templates and mask markers: how questions and answers become text."""
