"""What a trace is: its model, writer and reader. Imports neither torch nor textual."""
