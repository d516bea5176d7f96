"""Files that are written completely or not at all, and work that is shared by several processes."""
