"""Models: inputs, an encoder, a head, and the directory that they are saved in."""

from aaren.models._acting import ActingMode, ActingState, begin_episodes, choose_actions, observe_rewards
from aaren.models._build_encoder import build_encoder
from aaren.models._classifier import Classification, Classifier, ClassifierState
from aaren.models._classifier_config import ClassifierConfig
from aaren.models._classifier_preprocessing import ClassifierPreprocessing
from aaren.models._config import ForecasterConfig
from aaren.models._description import Description
from aaren.models._directory import check_tensors
from aaren.models._encoder_config import EncoderConfig
from aaren.models._event_config import EventConfig
from aaren.models._event_distribution import EventDistribution
from aaren.models._event_model import EventLogLikelihood, EventModel, EventState, ExpectedEvent, SampledEvents
from aaren.models._event_preprocessing import EventPreprocessing
from aaren.models._forecaster import Forecast, Forecaster, ForecasterState, future_of
from aaren.models._fused_forecast import FusedForecast
from aaren.models._load import load
from aaren.models._model import Model
from aaren.models._policy import Policy
from aaren.models._policy_config import PolicyConfig
from aaren.models._policy_memory import PolicyMemory, PolicyState, PolicyWindow
from aaren.models._policy_preprocessing import PolicyPreprocessing
from aaren.models._preprocessing import Preprocessing

__all__ = [
    "ActingMode",
    "ActingState",
    "Classification",
    "Classifier",
    "ClassifierConfig",
    "ClassifierPreprocessing",
    "ClassifierState",
    "Description",
    "EncoderConfig",
    "EventConfig",
    "EventDistribution",
    "EventLogLikelihood",
    "EventModel",
    "EventPreprocessing",
    "EventState",
    "ExpectedEvent",
    "Forecast",
    "Forecaster",
    "ForecasterConfig",
    "ForecasterState",
    "FusedForecast",
    "Model",
    "Policy",
    "PolicyConfig",
    "PolicyMemory",
    "PolicyPreprocessing",
    "PolicyState",
    "PolicyWindow",
    "Preprocessing",
    "SampledEvents",
    "begin_episodes",
    "build_encoder",
    "check_tensors",
    "choose_actions",
    "future_of",
    "load",
    "observe_rewards",
]
