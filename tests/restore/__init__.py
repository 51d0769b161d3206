"""Restores, on fakes and on an S3 that thaws."""
