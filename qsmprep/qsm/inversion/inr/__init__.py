"""A sum of grids as a function of coordinates, fitted to the field of one subject."""
