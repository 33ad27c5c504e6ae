"""Documents: text, Markdown, HTML, PDF and CSV files."""
