"""Archive runs, on fakes and on a strict S3."""
