"""The consistency report: how alike many pictures are to a character, over a folder or a batch.

folder.py      the pictures below a folder
rows.py        what one picture says
journal.py     rows kept while a run goes on, so that it can be resumed
measure.py     folder or batch -> rows
groups.py      which rows belong together: by folder, name (pattern.py), or the settings in settings.py
statistics.py  figures over rows
document.py    everything a report says, and its JSON
words.py       what it means and what to do
plots.py, page.py, chart.py   the same as SVG, HTML and a picture
"""
