"""Segmentation networks in JAX: pure functions, one loop, every architecture of the curriculum."""
