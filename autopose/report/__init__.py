"""What people see: curves, drawings, pages, printed tables."""
