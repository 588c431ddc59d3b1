"""The sections of the Degradation page: what deeper nets learn, live and recorded."""
