"""The commands of `nas`, a module for each kind: each calls the library and prints what it gives."""
