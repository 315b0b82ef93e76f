"""From decoded frames to those that are shown: cropped, tone-mapped, upright, of square pixels."""
