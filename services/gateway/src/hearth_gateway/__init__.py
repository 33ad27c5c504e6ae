"""The HTTP edge of Hearth: OpenAI-compatible API, retrieval, keys, priorities."""
