"""Accounts, sessions, guessing."""
