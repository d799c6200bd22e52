"""One study a module: its runs, and what they found."""
