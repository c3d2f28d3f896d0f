"""Names of timm's checkpoints."""
