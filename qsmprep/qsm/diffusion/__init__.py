"""The diffusion prior of susceptibility maps: network, noise, windows and weights."""
