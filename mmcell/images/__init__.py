"""Image files, each opened once: size, micrometres per pixel, and pixels in whole or in parts."""
