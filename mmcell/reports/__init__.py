"""Reports: one HTML file that shows what was measured, with pictures to look at."""
