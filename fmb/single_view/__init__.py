"""From one image to a symmetric mixture: families of shapes, the encoder, its training, what it predicts."""
