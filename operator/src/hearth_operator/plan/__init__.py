"""Pure decisions. Values in, values out."""
