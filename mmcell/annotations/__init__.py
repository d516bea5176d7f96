"""True cells: raw folders, PASCAL VOC, COCO JSON, and the split into training and validation."""
