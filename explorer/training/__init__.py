"""What is done to pictures and nets while they learn."""
