"""Lists as people send them: every format, every mistake, every bound."""
