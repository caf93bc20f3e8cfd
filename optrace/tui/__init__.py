"""The screen of `optrace view`. `core` knows what is shown and imports neither Textual nor torch."""
