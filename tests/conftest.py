"""What holds for every test process."""

import os

import torch
from hypothesis import settings

torch.set_num_threads(1)  # PyTorch's own threads fight over the cores that the processes share

# In CI the same code draws the same examples, so that a change is judged by what it changes; at a desk they are new
# each time, and that is where rare ones are found.
settings.register_profile("ci", derandomize=True)
if os.environ.get("CI"):
    settings.load_profile("ci")
