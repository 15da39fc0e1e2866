"""INR-QSM: a sine network of coordinates, fitted to the field of one subject."""
