"""Settings of a config that are changed on the command line, and whether anything reads them."""
