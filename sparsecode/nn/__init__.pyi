from .activations import ELU as ELU
from .activations import GELU as GELU
from .activations import Activation as Activation
from .activations import ActivationLike as ActivationLike
from .activations import ActivationModule as ActivationModule
from .activations import BatchTopK as BatchTopK
from .activations import GABASwitch as GABASwitch
from .activations import Gated as Gated
from .activations import Inhibition as Inhibition
from .activations import JumpReLU as JumpReLU
from .activations import LearnedK as LearnedK
from .activations import ReLU as ReLU
from .activations import SampledK as SampledK
from .activations import Satlin as Satlin
from .activations import Sigmoid as Sigmoid
from .activations import Softmax as Softmax
from .activations import SubtractTopK as SubtractTopK
from .activations import Tanh as Tanh
from .activations import TopK as TopK
from .adversarial import PGD as PGD
from .affine import Affine as Affine
from .affine import BiasedDictionary as BiasedDictionary
from .constraints import Bounded as Bounded
from .constraints import Constraint as Constraint
from .constraints import ConstraintLike as ConstraintLike
from .constraints import Free as Free
from .constraints import UnitBall as UnitBall
from .constraints import UnitNorm as UnitNorm
from .convnet import ConvDecoder as ConvDecoder
from .convnet import ConvEncoder as ConvEncoder
from .convnet import ConvNet as ConvNet
from .convolutional import ConvolutionalDictionary as ConvolutionalDictionary
from .convolutional import ConvolutionalLISTA as ConvolutionalLISTA
from .corruptions import Corrupted as Corrupted
from .corruptions import Corruption as Corruption
from .corruptions import CoverLike as CoverLike
from .corruptions import Half as Half
from .corruptions import MaskBlock as MaskBlock
from .corruptions import MaskPixels as MaskPixels
from .corruptions import SaltAndPepper as SaltAndPepper
from .decoders import Decoder as Decoder
from .decoders import DecoderLike as DecoderLike
from .decoders import DecoderModule as DecoderModule
from .decoders import LinearDictionary as LinearDictionary
from .decoders import OneHidden as OneHidden
from .encoders import LISTA as LISTA
from .encoders import Encoder as Encoder
from .encoders import EncoderLike as EncoderLike
from .encoders import EncoderModule as EncoderModule
from .encoders import LinearEncoder as LinearEncoder
from .gates import BinaryConcrete as BinaryConcrete
from .gates import Gate as Gate
from .gates import HardGate as HardGate
from .gates import SigmoidGate as SigmoidGate
from .likelihoods import Bernoulli as Bernoulli
from .likelihoods import ContinuousBernoulli as ContinuousBernoulli
from .likelihoods import Likelihood as Likelihood
from .likelihoods import Normal as Normal
from .noises import ExponentialNoise as ExponentialNoise
from .noises import GaussianNoise as GaussianNoise
from .noises import LaplaceNoise as LaplaceNoise
from .noises import Noise as Noise
from .noises import NoiseLike as NoiseLike
from .noises import PoissonNoise as PoissonNoise
from .noises import UniformNoise as UniformNoise
from .normalisers import Centre as Centre
from .normalisers import Identity as Identity
from .normalisers import Normaliser as Normaliser
from .normalisers import NormaliserLike as NormaliserLike
from .normalisers import NormaliserModule as NormaliserModule
from .normalisers import Standardise as Standardise
from .normalisers import StandardiseFeatures as StandardiseFeatures
from .normalisers import Whiten as Whiten
from .online import Forgetting as Forgetting
from .online import OnlineDictionary as OnlineDictionary
from .perceptron import Perceptron as Perceptron
from .posteriors import Gaussian as Gaussian
from .posteriors import Posterior as Posterior
from .posteriors import SpikeSlab as SpikeSlab
from .priors import Prior as Prior
from .priors import PseudoInputs as PseudoInputs
from .priors import SpikeSlabPrior as SpikeSlabPrior
from .priors import StandardNormal as StandardNormal
from .projection import Projection as Projection
from .trunks import ConvMixer as ConvMixer
from .trunks import ResNet50 as ResNet50

__all__ = [
    "ELU",
    "GELU",
    "LISTA",
    "PGD",
    "Activation",
    "ActivationLike",
    "ActivationModule",
    "Affine",
    "BatchTopK",
    "Bernoulli",
    "BiasedDictionary",
    "BinaryConcrete",
    "Bounded",
    "Centre",
    "Constraint",
    "ConstraintLike",
    "ContinuousBernoulli",
    "ConvDecoder",
    "ConvEncoder",
    "ConvMixer",
    "ConvNet",
    "ConvolutionalDictionary",
    "ConvolutionalLISTA",
    "Corrupted",
    "Corruption",
    "CoverLike",
    "Decoder",
    "DecoderLike",
    "DecoderModule",
    "Encoder",
    "EncoderLike",
    "EncoderModule",
    "ExponentialNoise",
    "Forgetting",
    "Free",
    "GABASwitch",
    "Gate",
    "Gated",
    "Gaussian",
    "GaussianNoise",
    "Half",
    "HardGate",
    "Identity",
    "Inhibition",
    "JumpReLU",
    "LaplaceNoise",
    "LearnedK",
    "Likelihood",
    "LinearDictionary",
    "LinearEncoder",
    "MaskBlock",
    "MaskPixels",
    "Noise",
    "NoiseLike",
    "Normal",
    "Normaliser",
    "NormaliserLike",
    "NormaliserModule",
    "OneHidden",
    "OnlineDictionary",
    "Perceptron",
    "PoissonNoise",
    "Posterior",
    "Prior",
    "Projection",
    "PseudoInputs",
    "ReLU",
    "ResNet50",
    "SaltAndPepper",
    "SampledK",
    "Satlin",
    "Sigmoid",
    "SigmoidGate",
    "Softmax",
    "SpikeSlab",
    "SpikeSlabPrior",
    "StandardNormal",
    "Standardise",
    "StandardiseFeatures",
    "SubtractTopK",
    "Tanh",
    "TopK",
    "UniformNoise",
    "UnitBall",
    "UnitNorm",
    "Whiten",
]
