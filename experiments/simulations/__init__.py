"""Simulations in which the truth is known, to see whether the statistics find it."""
