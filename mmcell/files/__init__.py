"""Files that appear whole, and work that is shared by processes."""
