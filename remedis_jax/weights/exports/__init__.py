"""Weights out: what is common to all forms, and those that need no folder of their own."""
