"""The Hugging Face Hub: search, rows, upload, model card, retry. Uploads run in a separate process."""
