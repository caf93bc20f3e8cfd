"""The gradient ledger: which backward's contributions are inside a gradient, and what became of every past one.

Imports neither torch nor textual.
"""
