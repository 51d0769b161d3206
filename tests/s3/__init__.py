"""The S3 stores against moto and against servers that misbehave."""
