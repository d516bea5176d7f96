"""The doctor of data sets: what is wrong or doubtful in images and masks, and which settings fit them."""
