"""Text that speaks to a machine instead of the reader: what is hidden is stripped, what gives orders is withheld."""
