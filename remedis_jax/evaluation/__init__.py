"""Predictions, metrics, patient bootstrap, data efficiency."""
