"""Pure functions from facts to conditions."""
