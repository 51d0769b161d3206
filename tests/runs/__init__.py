"""Run folders, locks and history."""
