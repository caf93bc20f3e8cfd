"""Everything that touches a live training process. Imports torch; never textual."""
