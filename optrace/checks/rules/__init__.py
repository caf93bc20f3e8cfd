"""One rule, one module: every `Rule` in this folder is found by itself."""
