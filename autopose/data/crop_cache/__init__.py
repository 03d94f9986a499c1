"""The pixels that people's crops can need, decoded once and kept on disk (``data.cache=disk``)."""
