"""`python -m optrace` is the command `optrace`."""

from optrace.cli import entry

if __name__ == "__main__":
    entry()
