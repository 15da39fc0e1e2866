"""INR-QSM: sine networks of coordinates, fitted to the field of one subject."""
