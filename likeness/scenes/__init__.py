"""Scenes: many pictures of one character, varied on purpose, each of which can be made again.

lists.py       values of each facet (outfits, backgrounds, ...), as text and as files
names.py       names of scenes, which are names of files too
scene.py       one picture to make: its name, seed, words and LoRAs
variations.py  lists x mode -> scenes
sheet.py       a character sheet: framings, angles, expressions and light by a plan
proposals.py   three different looks from a description, for a character without a reference
metadata.py    scenes in PNG files
origin.py      which graph draws a scene's pictures, and whether its LoRAs act there
drawn_with.py  checkpoint, LoRAs, strengths and sampling, read from a graph and from what its nodes tell
saving.py      writing them, and what a folder lacks
"""
