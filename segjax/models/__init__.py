"""One paper, one file: arrays in, a dict of arrays out."""
