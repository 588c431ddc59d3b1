"""Every network: ours, the libraries', and the trained ones."""
