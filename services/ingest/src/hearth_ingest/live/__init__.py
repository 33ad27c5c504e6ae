"""Accounts that are read over the network: credentials, TLS and the way through the house's proxy."""
