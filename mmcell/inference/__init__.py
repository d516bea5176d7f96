"""Prediction of images outside training: detectors from checkpoints, cells, filters, measurements, files."""
