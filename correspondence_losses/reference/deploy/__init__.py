"""Models that leave the trainer: as programs for other runtimes, and as repositories of Hugging Face's hub."""
