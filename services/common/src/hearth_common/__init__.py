"""What every Hearth service needs at run time: logs, service tokens, token review. Import from the modules."""
