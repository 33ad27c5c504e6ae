"""Weights that are not on the machine yet: sources, the store that keeps them, and the download between the two."""
