"""Training sets: from a folder of pictures to a folder that every trainer reads.

sources -> survey (slow: decodes and measures) -> plan (pure: select, crop, caption) -> build (slow: renders, writes)

A plan can be shown, edited and read back. The pictures that it starts from are never changed.
"""
