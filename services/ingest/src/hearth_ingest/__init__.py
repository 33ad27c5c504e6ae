"""One run of one IngestionSource: list, diff, fetch, parse, hand over."""
