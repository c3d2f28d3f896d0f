"""Checkpoints of other libraries as segjax variables, by numpy alone."""
