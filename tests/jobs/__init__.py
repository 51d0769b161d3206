"""The console's queue and what it holds."""
