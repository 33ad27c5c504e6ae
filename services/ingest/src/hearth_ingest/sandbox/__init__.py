"""The one process in which files of others are parsed: no network, no files, bounded memory and time."""
