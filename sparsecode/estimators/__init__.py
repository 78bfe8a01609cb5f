"""scikit-learn estimators: dictionaries, autoencoders, noise-trained networks and variational sparse coding."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
