"""Names of mmsegmentation's checkpoints."""
