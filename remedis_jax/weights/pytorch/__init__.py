"""State dicts of timm and transformers in and out; PyTorch runs in a process of its own."""
