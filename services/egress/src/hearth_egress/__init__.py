"""The way out for sources: an allow-list CONNECT proxy. Import from the modules."""
