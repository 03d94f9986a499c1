"""Other tools' labels as COCO keypoints: one reader a file, an explicit table of them, one writer.

``python -m autopose.data convert source=FOLDER out=FOLDER`` is the command; ``convert`` does the same from Python.
"""

from .convert import Settings, convert

__all__ = ["Settings", "convert"]
