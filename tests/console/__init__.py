"""A console as a process, asked over HTTP and WebSocket: who is let in, what is never shown."""
