"""One module for each kind of place that weights come from; all bytes come through `http`."""
