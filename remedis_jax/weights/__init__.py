"""Artefacts in and out: safetensors with a preprocessing contract."""
