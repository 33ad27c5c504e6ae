"""The page at HEARTH_URL: static files of this package, served with the strictest headers that they can live with."""
