"""How fast Himuro archives beside the usual command-line clients. Run by ``make bench``."""
