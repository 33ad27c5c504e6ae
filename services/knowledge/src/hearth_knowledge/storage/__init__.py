"""What is kept: metadata in SQL, bodies and originals as encrypted files."""
