"""Published models by name, folders of models, and downloads that are verified."""
