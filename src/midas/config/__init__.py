"""Every size, weight and choice of the model and of its training: frozen, validated, to and from TOML."""

from midas.config.inference import InferenceConfig
from midas.config.network import Activation, NetworkConfig
from midas.config.objective import ObjectiveConfig
from midas.config.training import Initialisation, TrainingConfig
from midas.config.whole import Config

__all__ = [
    "Activation",
    "Config",
    "InferenceConfig",
    "Initialisation",
    "NetworkConfig",
    "ObjectiveConfig",
    "TrainingConfig",
]
