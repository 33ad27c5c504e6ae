"""What goes wrong with backups."""

from hearth_knowledge.errors import KnowledgeError


class BackupError(KnowledgeError):
    """A backup cannot be made, read or put in place; the message says what to do."""

    status = 409
    kind = "invalid_request_error"
    code = "backup_failed"
