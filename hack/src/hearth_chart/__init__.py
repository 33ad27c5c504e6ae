"""What of the Helm chart is generated: the schema of its values and the operator's Role."""
