"""One thread a test process: PyTorch's own threads fight over the cores that the processes share."""

import torch

torch.set_num_threads(1)
