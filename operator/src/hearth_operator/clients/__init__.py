"""What talks to the outside: the API server, Ray, models, the knowledge service."""
