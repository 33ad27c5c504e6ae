"""What wakes the operator: watches, metrics and health."""
