"""Grids of fine-tuning runs: planned as cells, worked through anywhere, and compared."""
