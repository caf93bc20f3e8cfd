"""What the screen shows, as lines of text with roles: no terminal, no Textual, no torch."""
