"""Names of segmentation-models-pytorch's checkpoints."""
