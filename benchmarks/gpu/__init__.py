"""The real engine on one GPU, through the product's own code: see README.md beside this file."""
