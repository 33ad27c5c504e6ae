"""Contracts between the parts of Hearth: what crosses a process boundary."""
