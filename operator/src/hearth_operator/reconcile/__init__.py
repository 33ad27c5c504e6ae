"""Observe, plan, apply, report: one module per kind."""
