"""From a folder of pictures to a training set: checks, crops, tiles, splits by object, and the reasons on record.

`limits` holds every threshold, `quality` measures, `framing` crops, `duplicates` matches, `sources` reads what the user
gives, `curate` does the work, `contact_sheet` shows it.
"""
