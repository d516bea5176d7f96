"""How laboratories and programs store images and cells: one module per layout of files, read into one form."""
