"""What encoders are made of: blocks, towers, preparing, reading and packing of weights."""
