"""The sections of the Gradient flow page; each module shows one, of the nets that were chosen."""
