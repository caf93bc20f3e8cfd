"""The rules, and `check`: what is wrong with a recorded loop, and why. Imports neither torch nor textual."""
