"""What limits connections and messages, without a console."""
