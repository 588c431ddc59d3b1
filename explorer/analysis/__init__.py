"""What can be known of a network without running it: a network in, a table out."""
