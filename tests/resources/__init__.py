"""What a machine lacks, and bounds on what is held."""
