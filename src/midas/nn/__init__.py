"""The networks."""

from midas.nn.discriminator import Discriminators
from midas.nn.experts import Expert, Gaussian, product_of_experts
from midas.nn.noise import Noise
from midas.nn.vae import VAE, Latent, Outputs

__all__ = ["VAE", "Discriminators", "Expert", "Gaussian", "Latent", "Noise", "Outputs", "product_of_experts"]
