"""What a trained network predicts for a picture, and where it looks.

>>> from skimage import data
>>> from PIL import Image
>>> rows = predict("efficientnet_lite0", Image.fromarray(data.coffee()))
>>> rows.class_name[0], bool(rows.probability[0] > 0.9)
('espresso', True)
"""

from explorer.attribution.assess import Measures, assess, draw_anew
from explorer.attribution.explain import Attribution, attribute, predict
from explorer.attribution.images import ImageError, Picture, read_image
from explorer.attribution.methods import METHODS

__all__ = [
    "METHODS",
    "Attribution",
    "ImageError",
    "Measures",
    "Picture",
    "assess",
    "attribute",
    "draw_anew",
    "predict",
    "read_image",
]
