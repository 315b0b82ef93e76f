"""The synthetic benchmark: scores, and the pictures, sound, questions and truth made from them."""
