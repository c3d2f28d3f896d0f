"""Data sets (one file each, prepared by tfds without TensorFlow) and the check of a set."""
