"""The panes: one widget a file, drawn line by line from what `core` says."""
