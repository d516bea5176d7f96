"""Image files: pixels, rectangles of pixels, and micrometres per pixel."""
