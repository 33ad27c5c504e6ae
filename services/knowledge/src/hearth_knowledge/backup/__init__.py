"""Backup and restore: a snapshot of everything that cannot be made again, in one encrypted file."""
