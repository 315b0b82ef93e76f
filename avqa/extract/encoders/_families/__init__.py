"""Files that stand for many encoders each: one for every name ``<file>/<rest>``.

`EncoderFamily` is their contract. Another package brings one by an entry point of the group
``avqa.encoder_families``.
"""
