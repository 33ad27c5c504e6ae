"""How much memory a model needs: weights, context and overhead, before it is started. Pure."""
