"""Linen layers that three or more papers share."""
