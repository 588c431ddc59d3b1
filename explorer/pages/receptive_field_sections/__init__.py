"""The sections of the Receptive field page."""
