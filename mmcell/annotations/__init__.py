"""True cells: reading raw folders and PASCAL VOC, COCO JSON files, and the split into training and validation."""
