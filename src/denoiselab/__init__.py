"""denoiselab: pixel diffusion, from noise to picture."""
