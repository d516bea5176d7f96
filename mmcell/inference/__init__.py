"""Prediction of images with a trained model, and the files that are written with the predicted cells."""
