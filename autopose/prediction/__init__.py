"""Poses of people in pictures of one's own."""
