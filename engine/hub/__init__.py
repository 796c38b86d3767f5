"""The Hugging Face Hub: search, rows, upload, model card, retry. An upload runs in a process of its own."""
