"""Mail: mbox, maildir and single messages."""
