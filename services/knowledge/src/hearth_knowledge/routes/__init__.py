"""HTTP routes, one module per group of calls. A handler is one call of a service plus an authorization."""
