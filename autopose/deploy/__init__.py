"""Files that run without this software."""
