"""Names of the authors' own checkpoints."""
