"""The local service: weights behind HTTP, for those who want an API rather than a library."""
