"""How well an encoder finds the caption of an image, and the image of a caption."""
