"""HTTP: hot routes are raw ASGI, cold ones FastAPI."""
