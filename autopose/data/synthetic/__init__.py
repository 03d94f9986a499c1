"""Drawn figures with COCO's joints."""
