"""What is measured on one image: each module one topic, from arrays to arrays."""
